//! The user's protocol, called and its failures reported.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::flow_control::Tell;
use super::tls::Tls;
use crate::ffi::{call, downcast, name};
use crate::scheduler::{Core, is_exit};

/// How a transport hands received bytes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// `data_received(bytes)`.
    Bytes,
    /// `get_buffer()` and `buffer_updated(n)`.
    Buffer,
    /// asyncio's own `StreamReaderProtocol`: straight into its reader.
    Reader,
    /// A TLS transport of ours: its session decrypts what the socket's buffer holds.
    Records,
}

/// What `protocol` wants to be called.
pub(crate) fn delivery(protocol: &Bound<'_, PyAny>) -> PyResult<Delivery> {
    static BUFFERED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static STREAM_READER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    if downcast::<Tls>(protocol).is_some() {
        return Ok(Delivery::Records);
    }
    let buffered = BUFFERED.import(py, "asyncio.protocols", "BufferedProtocol")?;
    if protocol.is_instance(buffered)? {
        return Ok(Delivery::Buffer);
    }
    let reader = STREAM_READER.import(py, "asyncio.streams", "StreamReaderProtocol")?;
    Ok(if protocol.get_type().is(reader) {
        Delivery::Reader
    } else {
        Delivery::Bytes
    })
}

/// Calls `pause_writing` or `resume_writing`; a failure is reported and the transport lives.
pub(crate) fn tell(
    core: &Bound<'_, Core>,
    transport: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    what: Tell,
) -> PyResult<()> {
    let py = core.py();
    let (name, message) = match what {
        Tell::Pause => (
            name!(py, "pause_writing"),
            "protocol.pause_writing() failed",
        ),
        Tell::Resume => (
            name!(py, "resume_writing"),
            "protocol.resume_writing() failed",
        ),
    };
    match call::method(protocol, name, []) {
        Ok(_) => Ok(()),
        Err(error) if is_exit(py, &error) => Err(error),
        Err(error) => report(core, message, error, transport, Some(protocol)),
    }
}

/// Tells the loop's exception handler.
pub(crate) fn report(
    core: &Bound<'_, Core>,
    message: &str,
    error: PyErr,
    transport: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = core.py();
    let context = PyDict::new(py);
    context.set_item(name!(py, "message"), message)?;
    context.set_item(name!(py, "exception"), error.into_value(py))?;
    context.set_item(name!(py, "transport"), transport)?;
    context.set_item(name!(py, "protocol"), protocol)?;
    core.call_method1(name!(py, "call_exception_handler"), (context,))
        .map(drop)
}

/// Reports what ends a connection: to the handler, or only to the debug log where it is the network's doing.
pub(crate) fn report_fatal(
    core: &Bound<'_, Core>,
    message: &str,
    error: PyErr,
    transport: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = core.py();
    if !error.is_instance_of::<PyOSError>(py) {
        return report(core, message, error, transport, protocol);
    }
    if core.get().is_debug() {
        let logger = py.import("asyncio.log")?.getattr("logger")?;
        let keywords = PyDict::new(py);
        keywords.set_item(name!(py, "exc_info"), error.into_value(py))?;
        logger.call_method("debug", ("%r: %s", transport, message), Some(&keywords))?;
    }
    Ok(())
}
