//! The transport of a TLS connection: a protocol to the stream below, a transport to the application above.
//!
//! It reproduces `asyncio.sslproto`, including its states and messages, with the interpreter's own TLS object
//! (`session`). Handshake and shutdown are in `handshake`, records in `read` and `write`, the Python methods in
//! `methods`.

pub(crate) mod handshake;
pub(crate) mod memory_bio;
pub(crate) mod methods;
pub(crate) mod read;
pub(crate) mod session;
mod shutdown;
mod state;
pub(crate) mod write;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::ffi::{Class, Members, NativeClass, OwnerCell, Visitor, data, make, new_instance};
use crate::scheduler::Core;
use crate::transports::protocol;
use crate::transports::streams::adoption::Uses;
use crate::transports::warnings;
pub(crate) use methods::OVERLAY;
use session::Session;
use state::{Limits, READ_HIGH, TlsPhase, TlsState, Told, WRITE_HIGH};
pub(crate) use state::{Timeouts, Tls};

/// Creates a transport whose handshake begins when a stream calls its `connection_made`.
///
/// With `make_connection`, `protocol.connection_made` is called when the handshake ends.
pub(crate) fn new<'py>(
    core: &Bound<'py, Core>,
    protocol: &Bound<'py, PyAny>,
    session: Session,
    extra: Bound<'py, PyDict>,
    timeouts: Timeouts,
    waiter: Option<Bound<'py, PyAny>>,
    make_connection: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let state = TlsState {
        session,
        stream: RefCell::new(None),
        protocol: RefCell::new(Some(protocol.clone().unbind())),
        delivery: Cell::new(protocol::delivery(protocol)?),
        phase: Cell::new(TlsPhase::Unwrapped),
        told: Cell::new(if make_connection {
            Told::Nothing
        } else {
            Told::Made
        }),
        closed: Cell::new(false),
        forgotten: Cell::new(false),
        waiter: RefCell::new(waiter.map(Bound::unbind)),
        timer: RefCell::new(None),
        started: Cell::new(0.0),
        at_end: Cell::new(false),
        reading_paused: Cell::new(false),
        stream_paused: Cell::new(false),
        read_limits: Cell::new(Limits::up_to(READ_HIGH)),
        read_marks: RefCell::new(None),
        backlog: RefCell::default(),
        backlog_size: Cell::new(0),
        writing_blocked: Cell::new(false),
        writing_paused: Cell::new(false),
        write_limits: Cell::new(Limits::up_to(WRITE_HIGH)),
        write_marks: RefCell::new(None),
        uses: Uses::default(),
        conn_lost: Cell::new(0),
    };
    let tls = Tls {
        core: core.clone().unbind(),
        extra: extra.unbind(),
        timeouts,
        state: OwnerCell::new(state),
    };
    Ok(new_instance(core.py(), tls)?.into_any())
}

impl NativeClass for Tls {
    const NAME: &'static CStr = c"yamanote._yamanote.SSLTransport";
    const DOC: &'static CStr = c"A transport whose bytes go encrypted through a stream transport.";
    const HAS_DICT: bool = true; // As asyncio's transports have.

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        // A `Transport`, and the class that the fallback of `loop.sendfile()` requires.
        static BASE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        make::imported(&BASE, py, "asyncio.transports", "_FlowControlMixin").cloned()
    }

    fn members() -> Members {
        methods::members()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let state = self.state.while_stopped(visitor.stopped());
        visitor.object(&self.core);
        visitor.object(&self.extra);
        visitor.object(&self.timeouts.handshake);
        visitor.object(&self.timeouts.shutdown);
        state.session.traverse(visitor);
        if let Ok(stream) = state.stream.try_borrow() {
            visitor.option(stream.as_ref());
        }
        for cell in [
            &state.protocol,
            &state.waiter,
            &state.timer,
            &state.read_marks,
            &state.write_marks,
        ] {
            if let Ok(object) = cell.try_borrow() {
                visitor.option(object.as_ref());
            }
        }
        if let Ok(backlog) = state.backlog.try_borrow() {
            backlog.iter().for_each(|bytes| visitor.object(bytes));
        }
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        let gone = (
            state.stream.take(),
            state.protocol.take(),
            state.waiter.take(),
            state.timer.take(),
        );
        drop(gone);
        // The callbacks of the SSL context may refer back to this transport.
        state.session.release(py);
        self.extra.bind(py).clear();
    }

    /// Warns about a transport that was never closed, as asyncio's does. The stream below closes the socket.
    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let Ok(state) = data(this).state(py) else {
            return;
        };
        if state.closed.replace(true) {
            return;
        }
        if let Err(error) = warnings::unclosed(this.as_any()) {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        methods::repr(this)
    }
}
