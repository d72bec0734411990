//! A TLS transport and its state.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::exceptions::{PyException, PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use super::session::Session;
use crate::ffi::{Entered, OwnerCell, data, downcast, make, name};
use crate::scheduler::Core;
use crate::scheduler::report::report;
use crate::transports::lifecycle::Transport;
use crate::transports::logger::log;
use crate::transports::protocol::{self, Delivery};
use crate::transports::stream::{self, Stream};
use crate::transports::streams::adoption::Uses;

/// `SSLTransport`: an `asyncio.Transport` that sends and receives encrypted bytes through a stream transport.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) core: Py<Core>,
    /// The entries of `get_extra_info` that the stream does not have.
    pub(crate) extra: Py<PyDict>,
    pub(crate) timeouts: Timeouts,
    pub(super) state: OwnerCell<TlsState>,
}

/// Timeouts of handshake and shutdown in seconds, as the caller passed them, because messages quote them.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) handshake: Py<PyAny>,
    pub(crate) shutdown: Py<PyAny>,
}

/// State that only the loop's thread uses. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct TlsState {
    pub(crate) session: Session,
    pub(super) stream: RefCell<Option<Py<Stream>>>,
    pub(super) protocol: RefCell<Option<Py<PyAny>>>,
    pub(crate) delivery: Cell<Delivery>,
    pub(crate) phase: Cell<TlsPhase>,
    pub(crate) told: Cell<Told>,
    /// `close()` or `abort()` was called, or the connection is lost.
    pub(crate) closed: Cell<bool>,
    /// `close()` was called again: the session can be released once the connection is lost.
    pub(crate) forgotten: Cell<bool>,
    /// The future that waits for the handshake.
    pub(crate) waiter: RefCell<Option<Py<PyAny>>>,
    /// The timer of the handshake, or of the shutdown.
    pub(crate) timer: RefCell<Option<Py<PyAny>>>,
    /// When the handshake began, in debug mode.
    pub(crate) started: Cell<f64>,
    /// The peer has closed the stream.
    pub(crate) at_end: Cell<bool>,
    /// The application has paused reading.
    pub(crate) reading_paused: Cell<bool>,
    /// This transport has paused the stream, because the application has paused reading.
    pub(crate) stream_paused: Cell<bool>,
    pub(crate) read_limits: Cell<Limits>,
    /// `(low, high)` as they were passed to `set_read_buffer_limits`.
    pub(crate) read_marks: RefCell<Option<Py<PyAny>>>,
    /// Plaintext written before the handshake has finished.
    pub(crate) backlog: RefCell<VecDeque<Py<PyAny>>>,
    pub(crate) backlog_size: Cell<usize>,
    /// The stream has called `pause_writing`.
    pub(crate) writing_blocked: Cell<bool>,
    /// `pause_writing` of the application's protocol was called.
    pub(crate) writing_paused: Cell<bool>,
    pub(crate) write_limits: Cell<Limits>,
    /// `(low, high)` as they were passed to `set_write_buffer_limits`.
    pub(crate) write_marks: RefCell<Option<Py<PyAny>>>,
    pub(super) uses: Uses,
    /// Writes since the connection was lost, counted as in asyncio.
    pub(crate) conn_lost: Cell<usize>,
}

/// The states of `asyncio.sslproto.SSLProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPhase {
    Unwrapped,
    Handshake,
    Wrapped,
    Flushing,
    Shutdown,
}

/// The last event that the application's protocol received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Made,
    End,
    Lost,
}

/// Marks in bytes: at the high one the other side must pause, at the low one it may resume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) high: usize,
    pub(crate) low: usize,
}

impl Limits {
    pub(crate) const fn up_to(high: usize) -> Self {
        Self {
            high,
            low: high / 4,
        }
    }
}

/// Casts `object` to a TLS transport.
pub(crate) fn cast<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Tls>> {
    downcast(object).ok_or_else(|| PyTypeError::new_err("a SSLTransport is required"))
}

impl Tls {
    /// The state; an error while the transport runs on another thread.
    #[inline]
    pub(crate) fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, TlsState>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl TlsState {
    /// The stream below; `None` before it is connected and after it is lost.
    pub(crate) fn stream<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Stream>> {
        self.stream
            .borrow()
            .as_ref()
            .map(|stream| stream.bind(py).clone())
    }

    pub(crate) fn set_stream(&self, stream: Option<&Bound<'_, Stream>>) {
        let before = self
            .stream
            .replace(stream.map(|stream| stream.clone().unbind()));
        drop(before);
    }

    pub(crate) fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol
            .borrow()
            .as_ref()
            .map(|protocol| protocol.bind(py).clone())
    }

    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delivery.set(protocol::delivery(protocol)?);
        let before = self.protocol.replace(Some(protocol.clone().unbind()));
        drop(before);
        Ok(())
    }

    /// Takes out the protocol, which receives no further events.
    pub(crate) fn take_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol.take().map(|protocol| protocol.into_bound(py))
    }

    pub(crate) fn forget_backlog(&self) {
        let backlog = self.backlog.take();
        self.backlog_size.set(0);
        drop(backlog);
    }
}

/// Releases the session once the connection is lost and the application has closed the transport twice, so that a
/// reference to the transport does not keep the SSL context alive. asyncio's transport drops its protocol there.
pub(crate) fn forget_if_over(this: &Bound<'_, Tls>, state: &TlsState) {
    // `connection_lost`, which the stream calls, takes the protocol out.
    let is_over = state.protocol.borrow().is_none();
    if is_over && state.forgotten.get() {
        let py = this.py();
        state.session.release(py);
        data(this).extra.bind(py).clear();
    }
}

/// Ends the connection for errors that an `except Exception` of asyncio would catch; returns any other.
pub(crate) fn caught(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    message: &str,
    result: PyResult<()>,
) -> PyResult<()> {
    match result {
        Err(error) if error.is_instance_of::<PyException>(this.py()) => {
            fatal(this, state, message, error)
        }
        result => result,
    }
}

/// `SSLProtocol._fatal_error`: closes the stream, and reports the error unless it is a network error.
pub(crate) fn fatal(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    message: &str,
    error: PyErr,
) -> PyResult<()> {
    let py = this.py();
    let error = protocol::traced(data(this).core.bind(py), error);
    let below = state.stream(py);
    let raised = error.value(py).as_any().clone();
    let ended = below
        .as_ref()
        .map_or(Ok(()), |stream| end(stream, Some(raised)));
    ended.and(tell_fatal(this, below.as_ref(), message, error))
}

/// Reports the error as asyncio does.
fn tell_fatal(
    this: &Bound<'_, Tls>,
    below: Option<&Bound<'_, Stream>>,
    message: &str,
    error: PyErr,
) -> PyResult<()> {
    static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = this.py();
    let core = data(this).core.bind(py);
    if error.is_instance_of::<PyOSError>(py) {
        if core.get().is_debug() {
            let keywords = make::dict(py)?;
            keywords.set_item(name!(py, "exc_info"), error.into_value(py))?;
            log(
                py,
                "debug",
                ("%r: %s", this.as_any(), message),
                Some(&keywords),
            )?;
        }
        return Ok(());
    }
    let cancelled = make::imported(&CANCELLED, py, "asyncio.exceptions", "CancelledError")?;
    if error.matches(py, cancelled)? {
        return Ok(());
    }
    let more = [
        (name!(py, "transport"), below.map(Bound::as_any)),
        (name!(py, "protocol"), Some(this.as_any())),
    ];
    report(core, message, &error, &more)
}

/// Closes the stream at once; bytes that it was given before are sent as far as the kernel takes them.
pub(crate) fn end(stream: &Bound<'_, Stream>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let state = data(stream).state(stream.py())?;
    let settled = stream::flush::settle(stream, &state);
    settled.and(stream::ending::force_close(stream, &state, error))
}

/// asyncio's `FLOW_CONTROL_HIGH_WATER_SSL_READ` and `FLOW_CONTROL_HIGH_WATER_SSL_WRITE` (`constants.py`).
pub(crate) const READ_HIGH: usize = 256 * 1024;

pub(crate) const WRITE_HIGH: usize = 512 * 1024;

/// asyncio's message for an exception from the application's protocol or the session.
pub(crate) const FAILED: &str = "Fatal error on SSL protocol";

pub(crate) fn start_timer(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    seconds: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
) -> PyResult<()> {
    let py = this.py();
    let callback = this.as_any().getattr(method)?;
    let core = data(this).core.bind(py);
    let timer = core.call_method1(name!(py, "call_later"), (seconds, callback))?;
    drop(state.timer.replace(Some(timer.unbind())));
    Ok(())
}

pub(crate) fn stop_timer(py: Python<'_>, state: &TlsState) -> PyResult<()> {
    match state.timer.take() {
        Some(timer) => timer.call_method0(py, name!(py, "cancel")).map(drop),
        None => Ok(()),
    }
}
