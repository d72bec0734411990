//! Sources that are transports: a descriptor below, a protocol above.
//!
//! Always true: `connection_lost` is called once, last, in a later turn than what caused it.

mod clients;
pub(crate) mod datagram;
mod descriptor;
mod extra_info;
mod flow_control;
pub(crate) mod listener;
mod members;
pub(crate) mod pipe;
mod pipe_methods;
mod protocol;
mod read;
pub(crate) mod read_pipe;
mod reader;
pub(crate) mod sock_attempt;
pub(crate) mod sock_call;
pub(crate) mod stream;
mod stream_methods;
pub(crate) mod tls;
mod tls_handshake;
mod tls_memory;
mod tls_methods;
mod tls_read;
pub(crate) mod tls_session;
mod tls_write;
mod warnings;
mod write;
mod write_buffer;
pub(crate) mod write_pipe;

use pyo3::prelude::*;

use crate::ffi::class_of;

/// Adds the classes of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    warnings::prepare(py)?;
    for class in [
        class_of::<stream::Stream>(py)?,
        class_of::<datagram::Datagrams>(py)?,
        class_of::<read_pipe::ReadPipe>(py)?,
        class_of::<write_pipe::WritePipe>(py)?,
        class_of::<sock_call::SockCall>(py)?,
        class_of::<tls::Tls>(py)?,
    ] {
        module.add(class.name()?, &class)?;
    }
    Ok(())
}
