//! Sources that are transports: a descriptor below, a protocol above.
//!
//! Invariant: `connection_lost` is called exactly once, last, in a later turn than its cause.

pub(crate) mod clients;
pub(crate) mod datagram;
pub(crate) mod descriptor;
mod extra_info;
mod faults;
mod flow;
mod flow_control;
mod frame;
pub(crate) mod gates;
mod life;
mod lifecycle;
pub(crate) mod listener;
mod logger;
mod members;
pub(crate) mod pipe;
mod protocol;
mod set_limits;
mod shared_methods;
mod sharing;
mod source;
pub(crate) mod stream;
mod stream_reader;
mod streams;
mod terms;
pub(crate) mod tls;
mod traffic;
pub(crate) mod warnings;
mod write_buffer;

use pyo3::prelude::*;

use crate::ffi::class_of;
use crate::ffi::wire::{calls_openssl, finish_detached_writes};

/// Adds this module's classes to the Python module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    warnings::prepare(py)?;
    streams::prepare(py, tls::OVERLAY)?;
    module.add_class::<gates::ServerGate>()?;
    module.add_class::<gates::Admitted>()?;
    // Without memory, PyO3 panics where it makes a class: this one is made now.
    py.get_type::<clients::Clients>();
    for class in [
        class_of::<stream::Stream>(py)?,
        class_of::<datagram::Datagrams>(py)?,
        class_of::<pipe::read::ReadPipe>(py)?,
        class_of::<pipe::write::WritePipe>(py)?,
        class_of::<tls::Tls>(py)?,
        class_of::<streams::StreamCall>(py)?,
    ] {
        module.add(class.name()?, &class)?;
    }
    module.add_function(wrap_pyfunction!(calls_openssl, module)?)?;
    module.add_function(wrap_pyfunction!(finish_detached_writes, module)?)
}
