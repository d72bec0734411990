//! The native base of `yamanote.Loop`: the methods of `yamanote._yamanote.Core` that Python calls.

mod bell;
mod call;
mod methods;
mod metrics;
mod schedule;
mod sock;
mod state;
mod tasks;
mod tracing;
mod watchdog;
mod watching;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::scheduler::Core;

/// Adds the classes of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    bell::register(module)?;
    module.add_class::<Core>()?;
    module.add_class::<tracing::Recording>()?;
    // Without memory, PyO3 panics where it makes a class: this one is made now.
    py.get_type::<crate::scheduler::origin::Origin>();
    let core = py.get_type::<Core>();
    add_hot_methods(&core)?;
    state::add_clock(&core)?;
    watchdog::register(module)?;
    // The third class, of thread-safe handles, is internal in asyncio and here: neither exports it.
    for class in crate::scheduler::handle::make_classes(py)?.iter().take(2) {
        module.add(class.name()?, class)?;
    }
    Ok(())
}

/// Adds the methods that programs call most often to `Core`, or to a subclass of it.
fn add_hot_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    schedule::add_methods(class)?;
    sock::add_methods(class)?;
    metrics::add_methods(class)?;
    state::add_methods(class)?;
    tasks::add_methods(class)?;
    tracing::add_methods(class)?;
    watching::add_methods(class)
}
