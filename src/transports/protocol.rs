//! Calls the program's protocol and reports its failures.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::flow_control::Tell;
use super::logger::log;
use super::streams::adoption::is_stream_protocol;
use crate::ffi::{call, make, name};
use crate::scheduler::{self, Core, is_exit};

/// How a transport passes received bytes to its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// `data_received(bytes)`.
    Bytes,
    /// `get_buffer()` and `buffer_updated(n)`.
    Buffer,
    /// asyncio's own `StreamReaderProtocol`: bytes go directly into its reader.
    Reader,
}

/// The methods that `protocol` expects for received bytes.
pub(crate) fn delivery(protocol: &Bound<'_, PyAny>) -> PyResult<Delivery> {
    static BUFFERED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    let buffered = make::imported(&BUFFERED, py, "asyncio.protocols", "BufferedProtocol")?;
    if protocol.is_instance(buffered)? {
        return Ok(Delivery::Buffer);
    }
    Ok(if is_stream_protocol(protocol)? {
        Delivery::Reader
    } else if lacks(protocol, name!(py, "data_received"))?
        && !lacks(protocol, name!(py, "get_buffer"))?
        && !lacks(protocol, name!(py, "buffer_updated"))?
    {
        Delivery::Buffer
    } else {
        Delivery::Bytes
    })
}

/// Whether the attribute is missing. A look-up that raises another error counts as present: the call raises it again.
fn lacks(protocol: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    match protocol.getattr_opt(name) {
        Ok(value) => Ok(value.is_none()),
        Err(error) if is_exit(protocol.py(), &error) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Calls `pause_writing` or `resume_writing`; an exception is reported, and the transport stays open.
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

/// Reports an exception of a protocol method that asyncio would call in a handle, as that handle's error; nothing
/// else happens.
pub(crate) fn callback_failed(
    core: &Bound<'_, Core>,
    transport: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
    arguments: &[&Bound<'_, PyAny>],
    error: PyErr,
) -> PyResult<()> {
    let py = core.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let handle = protocol.getattr(method).and_then(|callback| {
        let parts = arguments.iter().map(|argument| argument.as_borrowed());
        let parts = std::iter::once(callback.as_borrowed()).chain(parts);
        let call = make::tuple(py, &parts.collect::<Vec<_>>())?;
        core.call_method1(name!(py, "_make_handle"), call)
    });
    match handle {
        Ok(handle) => core
            .call_method1(name!(py, "_report_callback_error"), (handle, error))
            .map(drop),
        Err(raised) if is_exit(py, &raised) => Err(raised),
        // The method does not exist: its look-up failed.
        Err(_) => {
            let message = format!("Exception in callback {}.{method}()", class_name(protocol));
            report(core, &message, error, transport, Some(protocol))
        }
    }
}

/// Reports an exception of a transport's own step that asyncio would run in a handle; nothing else happens.
pub(crate) fn step_failed(
    core: &Bound<'_, Core>,
    transport: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
    step: &str,
    error: PyErr,
) -> PyResult<()> {
    if is_exit(core.py(), &error) {
        return Err(error);
    }
    let message = format!("Exception in callback {}.{step}()", class_name(transport));
    report(core, &message, error, transport, protocol)
}

fn class_name(object: &Bound<'_, PyAny>) -> String {
    let name = object.get_type().name();
    name.map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// Raises `AttributeError` for a protocol without `connection_made`, as asyncio's transports do, before a transport
/// exists that would have to be closed.
pub(crate) fn check(protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let name = name!(protocol.py(), "connection_made");
    protocol.getattr(name).map(drop)
}

/// The same error with a traceback, as if raised in Python, because handlers and protocols format it.
pub(crate) fn traced(core: &Bound<'_, Core>, error: PyErr) -> PyErr {
    let py = core.py();
    if error.traceback(py).is_none() {
        // Ignored: the error is then reported without a traceback.
        let _ = core.call_method1(name!(py, "_traced"), (error.value(py),));
    }
    error
}

/// Calls the loop's exception handler.
pub(crate) fn report(
    core: &Bound<'_, Core>,
    message: &str,
    error: PyErr,
    transport: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = core.py();
    let more = [
        (name!(py, "transport"), Some(transport)),
        (name!(py, "protocol"), protocol),
    ];
    scheduler::report::report(core, message, &error, &more)
}

/// Reports an error that ends a connection: to the exception handler, or, for a network error, only to the debug log.
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
        let keywords = make::dict(py)?;
        keywords.set_item(name!(py, "exc_info"), error.into_value(py))?;
        let text = name!(py, "%r: %s");
        log(py, "debug", (text, transport, message), Some(&keywords))?;
    }
    Ok(())
}
