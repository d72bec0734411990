//! The native base of `yamanote.Loop`: the methods of `yamanote._yamanote.Core` that Python calls.

mod call;
mod methods;
mod schedule;
mod sock;
mod state;
mod tasks;
mod watching;

use pyo3::prelude::*;

use crate::scheduler::Core;

/// Adds the classes of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<Core>()?;
    let core = py.get_type::<Core>();
    schedule::add_methods(&core)?;
    sock::add_methods(&core)?;
    state::add_methods(&core)?;
    tasks::add_methods(&core)?;
    watching::add_methods(&core)?;
    // The third class, of thread-safe handles, is internal in asyncio and here: neither exports it.
    for class in crate::scheduler::handle::make_classes(py)?.iter().take(2) {
        module.add(class.name()?, class)?;
    }
    Ok(())
}
