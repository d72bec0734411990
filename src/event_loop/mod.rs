//! What Python calls on a loop: `yamanote._yamanote.Core`, the native base of `yamanote.Loop`.

mod methods;
mod schedule;
mod tasks;

use pyo3::prelude::*;

use crate::scheduler::Core;

/// Adds the classes of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<Core>()?;
    let core = py.get_type::<Core>();
    schedule::add_methods(&core)?;
    tasks::add_methods(&core)?;
    for class in crate::scheduler::handle::make_classes(py)? {
        module.add(class.name()?, &class)?;
    }
    Ok(())
}
