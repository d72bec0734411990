//! Sources that are transports: a descriptor below, a protocol above.
//!
//! Always true: `connection_lost` is called once, last, in a later turn than what caused it.

mod descriptor;
mod extra_info;
mod flow_control;
pub(crate) mod listener;
mod protocol;
mod read;
mod reader;
pub(crate) mod sock_attempt;
pub(crate) mod sock_call;
pub(crate) mod stream;
mod stream_methods;
mod write;
mod write_buffer;

use pyo3::prelude::*;

/// Adds the classes of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = crate::ffi::class_of::<stream::Stream>(module.py())?;
    module.add(class.name()?, &class)?;
    let class = crate::ffi::class_of::<sock_call::SockCall>(module.py())?;
    module.add(class.name()?, &class)
}
