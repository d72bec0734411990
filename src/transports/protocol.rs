//! The user's protocol, called and its failures reported.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::flow_control::Tell;
use super::logger::log;
use crate::ffi::{call, make, name};
use crate::scheduler::{self, Core, is_exit};

/// How a transport hands received bytes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// `data_received(bytes)`.
    Bytes,
    /// `get_buffer()` and `buffer_updated(n)`.
    Buffer,
    /// asyncio's own `StreamReaderProtocol`: straight into its reader.
    Reader,
}

/// What `protocol` wants to be called.
pub(crate) fn delivery(protocol: &Bound<'_, PyAny>) -> PyResult<Delivery> {
    static BUFFERED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static STREAM_READER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    let buffered = make::imported(&BUFFERED, py, "asyncio.protocols", "BufferedProtocol")?;
    if protocol.is_instance(buffered)? {
        return Ok(Delivery::Buffer);
    }
    let reader = make::imported(
        &STREAM_READER,
        py,
        "asyncio.streams",
        "StreamReaderProtocol",
    )?;
    Ok(if protocol.get_type().is(reader) {
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

/// Whether there is no such attribute. One that fails is there: its error is told when it is called.
fn lacks(protocol: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    match protocol.getattr_opt(name) {
        Ok(value) => Ok(value.is_none()),
        Err(error) if is_exit(protocol.py(), &error) => Err(error),
        Err(_) => Ok(false),
    }
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

/// A protocol method failed where asyncio has it called by a handle: reported as that handle's error, and nothing
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
        // There is no such method: the look-up is what failed.
        Err(_) => {
            let message = format!("Exception in callback {}.{method}()", class_name(protocol));
            report(core, &message, error, transport, Some(protocol))
        }
    }
}

/// A step of the transport's own failed where asyncio has it called by a handle: reported, and nothing else happens.
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

/// `AttributeError` for a protocol without `connection_made`, as from asyncio's transports: before there is a
/// transport that would have to be ended.
pub(crate) fn check(protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let name = name!(protocol.py(), "connection_made");
    protocol.getattr(name).map(drop)
}

/// The same error with a traceback, as one has that was raised in Python: handlers and protocols format it.
pub(crate) fn traced(core: &Bound<'_, Core>, error: PyErr) -> PyErr {
    let py = core.py();
    if error.traceback(py).is_none() {
        // Ignored: it is told without one then.
        let _ = core.call_method1(name!(py, "_traced"), (error.value(py),));
    }
    error
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
    let more = [
        (name!(py, "transport"), Some(transport)),
        (name!(py, "protocol"), protocol),
    ];
    scheduler::report::report(core, message, &error, &more)
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
        let keywords = make::dict(py)?;
        keywords.set_item(name!(py, "exc_info"), error.into_value(py))?;
        let text = name!(py, "%r: %s");
        log(py, "debug", (text, transport, message), Some(&keywords))?;
    }
    Ok(())
}
