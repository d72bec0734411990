//! A single attempt of a call on a socket: native for Python's own `socket.socket`, through its methods for any other
//! object.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyMemoryView, PyString, PyTuple};

use crate::errors::os_error;
use crate::ffi::buffer::{Place, View};
use crate::ffi::{bytes, call, make, name};
use crate::scheduler::watchers::Side;
use crate::scheduler::{Core, READ_SIZE};
use crate::sys::socket;
use crate::transports::descriptor::fileno;

/// A call on a socket, with its arguments.
#[derive(Debug)]
pub(crate) struct Operation {
    sock: Py<PyAny>,
    what: What,
    /// The object is a `socket.socket` and not of a subclass, so no method is overridden.
    is_plain: Cell<bool>,
}

/// The operation to attempt.
#[derive(Debug)]
pub(crate) enum What {
    Receive {
        size: Py<PyAny>,
    },
    ReceiveInto {
        buffer: Py<PyAny>,
    },
    ReceiveFrom {
        size: Py<PyAny>,
    },
    ReceiveFromInto {
        buffer: Py<PyAny>,
        size: Py<PyAny>,
    },
    SendAll(SendAll),
    SendTo {
        data: Py<PyAny>,
        address: Py<PyAny>,
    },
    Accept,
    /// Only wait for readiness.
    Wait(Side, Cell<bool>),
}

/// The bytes of a `sock_sendall`, and how many of them the kernel has taken.
#[derive(Debug)]
pub(crate) struct SendAll {
    data: Py<PyAny>,
    sent: Cell<usize>,
    /// An export of the buffer that keeps its size fixed while the rest waits; created when the first wait begins.
    pinned: RefCell<Option<Py<PyAny>>>,
}

impl SendAll {
    pub(crate) fn new(data: Py<PyAny>) -> Self {
        Self {
            data,
            sent: Cell::new(0),
            pinned: RefCell::new(None),
        }
    }
}

/// The result, or `None` where the call would block.
type Attempt<'py> = PyResult<Option<Bound<'py, PyAny>>>;

impl Operation {
    pub(crate) fn new(sock: Py<PyAny>, what: What) -> Self {
        Self {
            sock,
            what,
            is_plain: Cell::new(false),
        }
    }

    /// The socket's descriptor; negative once the socket is closed.
    pub(crate) fn fd(&self, py: Python<'_>) -> PyResult<RawFd> {
        let sock = self.sock.bind(py);
        if self.is_plain.get() {
            return Ok(open_fd(sock)?.unwrap_or(CLOSED));
        }
        fileno(sock)
    }

    /// The direction in which the socket must be ready.
    pub(crate) fn side(&self) -> Side {
        match &self.what {
            What::Wait(side, _) => *side,
            What::SendAll(_) | What::SendTo { .. } => Side::Writer,
            _ => Side::Reader,
        }
    }

    /// Checks the socket as asyncio does, then makes the first attempt.
    pub(crate) fn begin<'py>(&self, core: &Bound<'py, Core>) -> Attempt<'py> {
        let py = core.py();
        let sock = self.sock.bind(py);
        let is_plain = sock.get_type().is(socket_class(py)?);
        self.is_plain.set(is_plain);
        if !is_plain {
            check_ssl_socket(sock)?;
        }
        if core.get().is_debug() && blocks(sock)? {
            return Err(PyValueError::new_err("the socket must be non-blocking"));
        }
        self.attempt(core)
    }

    /// Makes an attempt, and counts what it has sent or received once it is complete.
    pub(crate) fn attempt<'py>(&self, core: &Bound<'py, Core>) -> Attempt<'py> {
        let attempt = self.attempt_once(core)?;
        if let Some(result) = &attempt {
            self.count(core, result);
        }
        Ok(attempt)
    }

    fn count(&self, core: &Bound<'_, Core>, result: &Bound<'_, PyAny>) {
        let meters = &core.get().shared.meters;
        match &self.what {
            What::Receive { .. } | What::ReceiveInto { .. } => {
                meters.bytes_in.add_size(size(result));
            }
            What::ReceiveFrom { .. } | What::ReceiveFromInto { .. } => {
                let first = result.cast_exact::<PyTuple>().ok();
                let first = first.and_then(|pair| pair.get_item(0).ok());
                meters
                    .bytes_in
                    .add_size(first.map_or(0, |first| size(&first)));
            }
            What::SendAll(all) => meters.bytes_out.add_size(all.sent.get()),
            What::SendTo { .. } => meters.bytes_out.add_size(size(result)),
            What::Accept => meters.accepts.count(),
            What::Wait(..) => {}
        }
    }

    fn attempt_once<'py>(&self, core: &Bound<'py, Core>) -> Attempt<'py> {
        let py = core.py();
        let sock = self.sock.bind(py);
        match &self.what {
            What::Receive { size } => {
                if self.is_plain.get()
                    && let Some(attempt) = receive(core, sock, size.bind(py))?
                {
                    return outcome(attempt);
                }
                by_method(sock, name!(py, "recv"), (size,))
            }
            What::ReceiveInto { buffer } => {
                if self.is_plain.get()
                    && let Some(attempt) = receive_into(sock, buffer.bind(py))?
                {
                    return outcome(attempt);
                }
                by_method(sock, name!(py, "recv_into"), (buffer,))
            }
            What::ReceiveFrom { size } => by_method(sock, name!(py, "recvfrom"), (size,)),
            What::ReceiveFromInto { buffer, size } => {
                let size = if size.bind(py).is_truthy()? {
                    size.clone_ref(py)
                } else {
                    make::int(py, buffer.bind(py).len()?)?.into_any().unbind()
                };
                by_method(sock, name!(py, "recvfrom_into"), (buffer, size))
            }
            What::SendAll(rest) => {
                if self.is_plain.get()
                    && let Some(attempt) = rest.natively(sock)?
                {
                    return outcome(attempt);
                }
                rest.by_method(sock)
            }
            What::SendTo { data, address } => by_method(sock, name!(py, "sendto"), (data, address)),
            What::Accept => {
                let accepted = by_method(sock, name!(py, "accept"), ())?;
                if let Some(accepted) = &accepted {
                    let connection = accepted.get_item(0)?;
                    connection.call_method1(name!(py, "setblocking"), (false,))?;
                }
                Ok(accepted)
            }
            What::Wait(_, waited) => Ok(waited.replace(true).then(|| py.None().into_bound(py))),
        }
    }

    /// Visits every held object for the garbage collector.
    pub(crate) fn objects(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.sock);
        match &self.what {
            What::Receive { size } | What::ReceiveFrom { size } => visit(size),
            What::ReceiveInto { buffer } => visit(buffer),
            What::ReceiveFromInto { buffer, size } => [buffer, size].into_iter().for_each(visit),
            What::SendAll(rest) => {
                visit(&rest.data);
                if let Ok(pinned) = rest.pinned.try_borrow() {
                    pinned.iter().for_each(visit);
                }
            }
            What::SendTo { data, address } => [data, address].into_iter().for_each(visit),
            What::Accept | What::Wait(..) => {}
        }
    }
}

/// The result of a native attempt; `None` when the Python method must be called, which raises its own errors.
type Native<'py> = PyResult<Option<io::Result<Bound<'py, PyAny>>>>;

/// The size of what a method of a socket returned: bytes, or a number of them. Zero for what only another class of
/// sockets returns.
fn size(result: &Bound<'_, PyAny>) -> usize {
    if let Ok(bytes) = result.cast_exact::<PyBytes>() {
        return bytes.as_bytes().len();
    }
    let number = result.cast_exact::<PyInt>().ok();
    number.map_or(0, |number| number.extract().unwrap_or(0))
}

fn outcome(attempt: io::Result<Bound<'_, PyAny>>) -> Attempt<'_> {
    match attempt {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(os_error(error)),
    }
}

/// `sock.recv(size)`.
fn receive<'py>(
    core: &Bound<'py, Core>,
    sock: &Bound<'py, PyAny>,
    size: &Bound<'py, PyAny>,
) -> Native<'py> {
    let py = core.py();
    let Ok(Ok(size)) = size
        .cast_exact::<PyInt>()
        .map(|size| size.extract::<usize>())
    else {
        return Ok(None);
    };
    let Some(fd) = open_fd(sock)?.filter(|_| size > 0 && isize::try_from(size).is_ok()) else {
        return Ok(None);
    };
    let local = core.get().local(py)?;
    // Most messages are far smaller than the requested size. Receiving directly would allocate an object of that size
    // for each message, and for each attempt that would block.
    let direct = size <= SMALL || size > READ_SIZE || local.scratch.receives_much();
    let received = if direct {
        bytes::read_into_new(py, size, |buffer| socket::recv_now(fd, buffer))?
    } else {
        local.with_read_buffer(|buffer| {
            let mut buffer = buffer.part(size);
            match socket::recv_now(fd, &mut buffer) {
                Ok(count) => {
                    let received = make::bytes(py, buffer.filled())?;
                    Ok::<_, PyErr>(Ok((received, count)))
                }
                Err(error) => Ok(Err(error)),
            }
        })??
    };
    Ok(Some(received.map(|(received, count)| {
        local.scratch.note_received(count > SMALL);
        received.into_any()
    })))
}

/// `sock.recv_into(buffer)`.
fn receive_into<'py>(sock: &Bound<'py, PyAny>, buffer: &Bound<'py, PyAny>) -> Native<'py> {
    let Some(fd) = open_fd(sock)? else {
        return Ok(None);
    };
    // The Python method raises with its own message.
    let mut place = Place::default();
    let Ok(mut view) = View::writable(buffer, &mut place) else {
        return Ok(None);
    };
    if view.len() == 0 {
        return Ok(None);
    }
    let received = socket::recv_now(fd, &mut view.room());
    let count = match received {
        Ok(count) => Ok(make::int(sock.py(), count)?.into_any()),
        Err(error) => Err(error),
    };
    Ok(Some(count))
}

impl SendAll {
    /// `sock.send(rest)`: the result when all is sent, `None` when the rest must wait for room.
    fn natively<'py>(&self, sock: &Bound<'py, PyAny>) -> Native<'py> {
        let py = sock.py();
        let Some(fd) = open_fd(sock)? else {
            return Ok(None);
        };
        let pinned = self.pinned.borrow().as_ref().map(|view| view.clone_ref(py));
        let data = pinned.as_ref().unwrap_or(&self.data).bind(py);
        // The Python method raises with its own message.
        let mut place = Place::default();
        let Ok(view) = View::readable(data, &mut place) else {
            return Ok(None);
        };
        let sent = self.sent.get();
        match socket::send_now(fd, view.bytes().get(sent..).unwrap_or_default()) {
            Ok(count) if sent + count >= view.len() => {
                self.sent.set(sent + count);
                Ok(Some(Ok(py.None().into_bound(py))))
            }
            Ok(count) => {
                self.sent.set(sent + count);
                self.pin(py)?;
                Ok(Some(Err(ErrorKind::WouldBlock.into())))
            }
            Err(error) => {
                if error.kind() == ErrorKind::WouldBlock {
                    self.pin(py)?;
                }
                Ok(Some(Err(error)))
            }
        }
    }

    /// The same operation through the methods of an object that is not a plain `socket.socket`.
    fn by_method<'py>(&self, sock: &Bound<'py, PyAny>) -> Attempt<'py> {
        let py = sock.py();
        let pinned = self.pinned.borrow().as_ref().map(|view| view.clone_ref(py));
        let (rest, length) = match &pinned {
            None => (self.data.bind(py).clone(), self.data.bind(py).len()),
            Some(view) => {
                let view = view.bind(py);
                let rest =
                    view.get_item(make::slice(py, self.sent.get(), isize::MAX.unsigned_abs())?)?;
                (rest, view.len())
            }
        };
        let count = match by_method(sock, name!(py, "send"), (rest,))? {
            Some(count) => count.extract::<usize>()?,
            None => 0,
        };
        let sent = self.sent.get() + count;
        self.sent.set(sent);
        if (count > 0 || pinned.is_none()) && sent >= length? {
            return Ok(Some(py.None().into_bound(py)));
        }
        self.pin(py)?;
        Ok(None)
    }

    fn pin(&self, py: Python<'_>) -> PyResult<()> {
        if self.pinned.borrow().is_none() {
            let view = PyMemoryView::from(self.data.bind(py))?.into_any().unbind();
            self.pinned.replace(Some(view));
        }
        Ok(())
    }
}

/// `sock.name(*arguments)`; `None` where that call would block.
fn by_method<'py, A: pyo3::call::PyCallArgs<'py>>(
    sock: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: A,
) -> Attempt<'py> {
    let py = sock.py();
    match sock.call_method1(name, arguments) {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py)
                || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The descriptor of a plain socket; `None` once the socket is closed.
fn open_fd(sock: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    static FILENO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // A method look-up costs three times as much as the call.
    let method = FILENO.get_or_try_init(sock.py(), || {
        let method = socket_class(sock.py())?.getattr(name!(sock.py(), "fileno"))?;
        Ok::<_, PyErr>(method.unbind())
    })?;
    let fd = call::function(method.bind(sock.py()), [sock])?.extract()?;
    Ok(Some(fd).filter(|fd| *fd >= 0))
}

fn blocks(sock: &Bound<'_, PyAny>) -> PyResult<bool> {
    sock.call_method0(name!(sock.py(), "gettimeout"))?.ne(0)
}

/// `TypeError` for an `ssl.SSLSocket`.
fn check_ssl_socket(sock: &Bound<'_, PyAny>) -> PyResult<()> {
    static CHECK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let check = make::imported(
        &CHECK,
        sock.py(),
        "asyncio.base_events",
        "_check_ssl_socket",
    )?;
    check.call1((sock,)).map(drop)
}

fn socket_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static SOCKET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    make::imported(&SOCKET, py, "socket", "socket")
}

/// The value of `fileno()` after `close()`.
const CLOSED: RawFd = -1;

/// Up to this size, allocating an object of the requested size costs no more than a copy.
const SMALL: usize = 4096;
