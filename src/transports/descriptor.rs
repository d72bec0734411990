//! The socket under a transport, and its ownership.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::ffi::{make, name};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// A socket that stays a bare descriptor until the Python object is requested.
#[derive(Debug)]
pub(crate) struct Descriptor {
    state: RefCell<State>,
    kind: SocketKind,
}

/// `family`, `type` and `proto` as Python's socket module numbers them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketKind {
    pub(crate) family: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
}

#[derive(Debug)]
enum State {
    Raw(OwnedFd),
    /// The `socket.socket`, which owns the descriptor.
    Socket(Py<PyAny>),
    Closed,
}

impl Descriptor {
    pub(crate) fn from_fd(fd: OwnedFd, kind: SocketKind) -> Self {
        Self {
            state: RefCell::new(State::Raw(fd)),
            kind,
        }
    }

    pub(crate) fn from_socket(socket: &Bound<'_, PyAny>) -> Self {
        let state = State::Socket(socket.clone().unbind());
        Self {
            state: RefCell::new(state),
            kind: SocketKind::default(),
        }
    }

    /// The `socket.socket`, created by the first call; a closed one if the descriptor was closed before any call.
    pub(crate) fn socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static SOCKET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let fd = match &*self.state.borrow() {
            State::Raw(fd) => Some(fd.as_raw_fd()),
            State::Socket(socket) => return Ok(socket.bind(py).clone()),
            State::Closed => None,
        };
        let class = make::imported(&SOCKET, py, "socket", "socket")?;
        let Some(fd) = fd else {
            let socket = closed_socket(class)?;
            let before = self.state.replace(State::Socket(socket.clone().unbind()));
            drop(before);
            return Ok(socket);
        };
        let SocketKind {
            family,
            kind,
            protocol,
        } = self.kind;
        let keywords = make::dict(py)?;
        keywords.set_item(name!(py, "fileno"), fd)?;
        let socket = class.call((family, kind, protocol), Some(&keywords))?;
        // The object owns the descriptor now; it must be stored before any later step can fail.
        let before = self.state.replace(State::Socket(socket.clone().unbind()));
        if let State::Raw(fd) = before {
            let _ = fd.into_raw_fd();
        }
        socket.call_method1(name!(py, "setblocking"), (false,))?;
        Ok(socket)
    }

    /// Closes the socket; further calls do nothing.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        // The closed socket object stays, because asyncio's transports still return it.
        let socket = match &*self.state.borrow() {
            State::Socket(socket) => Some(socket.clone_ref(py)),
            State::Raw(_) | State::Closed => None,
        };
        if let Some(socket) = socket {
            return socket.call_method0(py, name!(py, "close")).map(drop);
        }
        drop(self.state.replace(State::Closed));
        Ok(())
    }

    /// Visits the Python object for the garbage collector.
    pub(crate) fn object(&self, visit: crate::scheduler::Visit<'_>) {
        if let Ok(state) = self.state.try_borrow()
            && let State::Socket(socket) = &*state
        {
            visit(socket);
        }
    }
}

/// A socket object as `close()` leaves it, without a descriptor ever having been opened.
fn closed_socket<'py>(class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let socket = class.call_method1(name!(py, "__new__"), (class,))?;
    socket.setattr(name!(py, "_io_refs"), 0)?;
    socket.setattr(name!(py, "_closed"), true)?;
    Ok(socket)
}

/// The descriptor of a Python socket.
pub(crate) fn fileno(socket: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    socket.call_method0(name!(socket.py(), "fileno"))?.extract()
}
