//! A TLS transport and what belongs to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::exceptions::{PyException, PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use super::session::Session;
use crate::ffi::{Entered, OwnerCell, data, downcast, make, name};
use crate::scheduler::Core;
use crate::scheduler::report::report;
use crate::transports::lifecycle::Transport;
use crate::transports::logger::log;
use crate::transports::protocol::{self, Delivery};
use crate::transports::stream::{self, Stream};

/// `SSLTransport`: an `asyncio.Transport` whose bytes go encrypted through a stream transport.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) core: Py<Core>,
    /// What `get_extra_info` knows that the stream does not.
    pub(crate) extra: Py<PyDict>,
    pub(crate) timeouts: Timeouts,
    pub(super) state: OwnerCell<TlsState>,
}

/// Seconds for the handshake and for the shutdown, as the caller gave them: messages quote them.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) handshake: Py<PyAny>,
    pub(crate) shutdown: Py<PyAny>,
}

/// What belongs to the loop's thread. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct TlsState {
    pub(crate) session: Session,
    pub(super) stream: RefCell<Option<Py<Stream>>>,
    pub(super) protocol: RefCell<Option<Py<PyAny>>>,
    pub(crate) delivery: Cell<Delivery>,
    pub(crate) phase: Cell<TlsPhase>,
    pub(crate) told: Cell<Told>,
    /// `close()` or `abort()` was called, or the connection is gone.
    pub(crate) closed: Cell<bool>,
    /// `close()` was called once more: nobody asks about the session when the connection is gone.
    pub(crate) forgotten: Cell<bool>,
    /// What waits for the handshake.
    pub(crate) waiter: RefCell<Option<Py<PyAny>>>,
    /// The timer of the handshake, or of the shutdown.
    pub(crate) timer: RefCell<Option<Py<PyAny>>>,
    /// When the handshake began, in debug mode.
    pub(crate) started: Cell<f64>,
    /// The peer has closed the stream.
    pub(crate) at_end: Cell<bool>,
    /// The application does not want to read.
    pub(crate) reading_paused: Cell<bool>,
    /// The stream was told not to read, for the application does not.
    pub(crate) stream_paused: Cell<bool>,
    pub(crate) read_limits: Cell<Limits>,
    /// `(low, high)` as `set_read_buffer_limits` was given them.
    pub(crate) read_marks: RefCell<Option<Py<PyAny>>>,
    /// Not encrypted yet: written during a handshake.
    pub(crate) backlog: RefCell<VecDeque<Py<PyAny>>>,
    pub(crate) backlog_size: Cell<usize>,
    /// The stream has enough to send.
    pub(crate) writing_blocked: Cell<bool>,
    /// The application was told to pause writing.
    pub(crate) writing_paused: Cell<bool>,
    pub(crate) write_limits: Cell<Limits>,
    /// The same of `set_write_buffer_limits`.
    pub(crate) write_marks: RefCell<Option<Py<PyAny>>>,
    /// Writes since the connection was lost, as asyncio counts them.
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

/// What the application's protocol was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Made,
    End,
    Lost,
}

/// Marks in bytes: at the high one the other side must stop, at the low one it may go on.
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

/// `object` as a TLS transport.
pub(crate) fn cast<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Tls>> {
    downcast(object).ok_or_else(|| PyTypeError::new_err("a SSLTransport is required"))
}

impl Tls {
    /// The state; an error when it is at work on another thread.
    #[inline]
    pub(crate) fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, TlsState>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl TlsState {
    /// The stream below; `None` before the connection and after it.
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

    /// Lets go of the protocol, which is told nothing more.
    pub(crate) fn take_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol.take().map(|protocol| protocol.into_bound(py))
    }

    pub(crate) fn forget_backlog(&self) {
        let backlog = self.backlog.take();
        self.backlog_size.set(0);
        drop(backlog);
    }
}

/// Lets go of the session once the connection is gone and the application has closed it twice: whoever
/// keeps the transport does not keep the context. asyncio's transport forgets its protocol there.
pub(crate) fn forget_if_over(this: &Bound<'_, Tls>, state: &TlsState) {
    // `connection_lost` of the stream takes the protocol.
    let is_over = state.protocol.borrow().is_none();
    if is_over && state.forgotten.get() {
        let py = this.py();
        state.session.release(py);
        data(this).extra.bind(py).clear();
    }
}

/// What an `except Exception` of asyncio's would catch ends the connection; the rest passes.
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

/// `SSLProtocol._fatal_error`: ends the stream, and reports what is not the network's doing.
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

/// As asyncio tells of it.
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

/// Ends the stream at once; what it was given before is sent as far as the kernel takes it.
pub(crate) fn end(stream: &Bound<'_, Stream>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let state = data(stream).state(stream.py())?;
    let settled = stream::flush::settle(stream, &state);
    settled.and(stream::ending::force_close(stream, &state, error))
}

/// asyncio's `FLOW_CONTROL_HIGH_WATER_SSL_READ` and `FLOW_CONTROL_HIGH_WATER_SSL_WRITE` (`constants.py`).
pub(crate) const READ_HIGH: usize = 256 * 1024;

pub(crate) const WRITE_HIGH: usize = 512 * 1024;

/// asyncio's words for what the application's protocol or the session raised.
pub(crate) const FAILED: &str = "Fatal error on SSL protocol";
