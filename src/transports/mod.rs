//! Sources that are transports: a descriptor below, a protocol above.
//!
//! Always true: `connection_lost` is called once, last, in a later turn than what caused it.

pub(crate) mod datagram;
mod descriptor;
mod extra_info;
mod flow_control;
pub(crate) mod listener;
mod members;
mod protocol;
mod read;
mod reader;
pub(crate) mod stream;
mod stream_methods;
mod write;
mod write_buffer;

use pyo3::prelude::*;

/// Adds the classes of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for class in [
        crate::ffi::class_of::<stream::Stream>(py)?,
        crate::ffi::class_of::<datagram::Datagrams>(py)?,
    ] {
        module.add(class.name()?, &class)?;
    }
    Ok(())
}
