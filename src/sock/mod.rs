//! `loop.sock_*`: calls on sockets that the program owns.

pub(crate) mod attempt;
pub(crate) mod call;
pub(crate) mod connection;

use pyo3::prelude::*;

use crate::ffi::class_of;

/// Adds this module's class to the Python module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = class_of::<call::SockCall>(module.py())?;
    module.add(class.name()?, &class)?;
    module.add_class::<connection::Connection>()
}
