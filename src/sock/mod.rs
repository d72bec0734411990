//! `loop.sock_*`: calls on the sockets of a program.

pub(crate) mod attempt;
pub(crate) mod call;

use pyo3::prelude::*;

use crate::ffi::class_of;

/// Adds the class of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = class_of::<call::SockCall>(module.py())?;
    module.add(class.name()?, &class)
}
