//! A connection that the loop opens, before it has a transport.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::errors::os_error;
use crate::ffi::context::given_or_current;
use crate::ffi::{call, make, name};
use crate::scheduler::Core;
use crate::sys::connect::{self, Progress};
use crate::sys::socket::{INTERNET_FAMILIES, Name, STREAM, UNIX_FAMILY, peer_name};
use crate::transports::descriptor::{Descriptor, SocketKind};
use crate::transports::stream;

/// A TCP or Unix socket without a Python object, connected or connecting. Dropping it closes it.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug)]
pub(crate) struct Connection {
    /// `None` once it is closed or has a new owner. A lock, because any thread may close it.
    fd: Mutex<Option<OwnedFd>>,
    progress: Progress,
    /// `None` for a Unix socket.
    address: Option<SocketAddr>,
    kind: SocketKind,
}

/// Begins to connect to the address `name`; `None` unless its host is numeric. It may be as `getaddrinfo` returns it, or
/// a pair of host and port for any family.
pub(crate) fn begin(
    core: &Bound<'_, Core>,
    name: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Option<Connection>> {
    let (Some(address), Ok(protocol)) = (numeric(name), protocol.extract()) else {
        return Ok(None);
    };
    audit(core, name)?;
    let family = INTERNET_FAMILIES[usize::from(address.is_ipv6())];
    let (fd, progress) = connect::connect(&address, protocol).map_err(os_error)?;
    Ok(Some(Connection {
        fd: Mutex::new(Some(fd)),
        progress,
        address: Some(address),
        kind: SocketKind {
            family,
            kind: STREAM,
            protocol,
        },
    }))
}

/// Connects to the socket file at `path`; `None` unless the path can be given to the kernel as it is.
pub(crate) fn connect_unix(
    core: &Bound<'_, Core>,
    path: &Bound<'_, PyAny>,
) -> PyResult<Option<Connection>> {
    let name = match path.cast_exact::<PyBytes>() {
        Ok(path) => Name::of_path(path.as_bytes()),
        // Beyond ASCII, the file system's encoding is Python's business.
        Err(_) => ascii(path).and_then(|path| Name::of_path(path.as_bytes())),
    };
    let Some(name) = name else { return Ok(None) };
    audit(core, path)?;
    let fd = connect::connect_unix(&name).map_err(os_error)?;
    Ok(Some(Connection {
        fd: Mutex::new(Some(fd)),
        progress: Progress::Connected,
        address: None,
        kind: SocketKind {
            family: UNIX_FAMILY,
            kind: STREAM,
            protocol: 0,
        },
    }))
}

/// Creates the transport, which owns the socket from now on. On failure, the socket is closed.
pub(crate) fn make_transport<'py>(
    core: &Bound<'py, Core>,
    connection: &Connection,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let fd = connection.take()?;
    let peer = connection.peer(&fd);
    let room = stream::Room {
        context: given_or_current(core.py(), context)?,
        is_given: context.is_some(),
    };
    let connected = (fd, peer);
    let kind = connection.kind;
    stream::from_fd(core, connected, kind, room, protocol, waiter, None)
}

#[pymethods]
impl Connection {
    /// Whether the kernel has not yet said how it ended.
    #[getter]
    fn is_pending(&self) -> bool {
        self.progress == Progress::Pending
    }

    /// The `errno` of a connection that failed; 0 for one that is made.
    fn error(&self) -> PyResult<i32> {
        match self.progress {
            Progress::Connected => Ok(0),
            Progress::Failed(number) => Ok(number),
            Progress::Pending => match &*self.fd() {
                Some(fd) => connect::take_error(fd.as_raw_fd()).map_err(os_error),
                None => Err(closed()),
            },
        }
    }

    /// The descriptor; -1 once it is closed.
    fn fileno(&self) -> i32 {
        self.fd().as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Convert it to a `socket.socket`, which owns the descriptor from now on.
    fn socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Descriptor::from_fd(self.take()?, self.kind).socket(py)
    }

    /// Close it; further calls do nothing.
    fn close(&self) {
        drop(self.fd().take());
    }
}

impl Connection {
    fn fd(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<OwnedFd> {
        self.fd().take().ok_or_else(closed)
    }

    /// The kernel replaces some addresses: `0.0.0.0` becomes `127.0.0.1`.
    fn peer(&self, fd: &OwnedFd) -> Option<Name> {
        match &self.address {
            Some(address @ SocketAddr::V4(v4)) if !v4.ip().is_unspecified() => {
                Some(Name::from(address))
            }
            _ => peer_name(fd.as_raw_fd()).ok(),
        }
    }
}

/// Tells the program's audit hooks, as the method of `socket.socket` does; the loop stands for the socket.
fn audit(core: &Bound<'_, Core>, name: &Bound<'_, PyAny>) -> PyResult<()> {
    static AUDIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = core.py();
    let audit = make::imported(&AUDIT, py, "sys", "audit")?;
    let event = name!(py, "socket.connect").as_any();
    call::function(audit, [event, core.as_any(), name]).map(drop)
}

fn closed() -> PyErr {
    PyOSError::new_err("the connection is closed")
}

/// `(host, port)`, or for IPv6 `(host, port, flow, scope)`, if the host is numeric and the others are in range.
fn numeric(address: &Bound<'_, PyAny>) -> Option<SocketAddr> {
    let address = address.cast_exact::<PyTuple>().ok()?;
    let host = address.get_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?;
    let port: u16 = address.get_item(1).ok()?.extract().ok()?;
    let ip: IpAddr = host.to_str().ok()?.parse().ok()?;
    match ip {
        _ if address.len() == 2 => Some(SocketAddr::new(ip, port)),
        IpAddr::V6(ip) if address.len() == 4 => Some(scoped(ip, port, address)?.into()),
        _ => None,
    }
}

fn ascii<'a>(path: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    let path = path.cast_exact::<PyString>().ok()?.to_str().ok()?;
    Some(path).filter(|path| path.is_ascii())
}

fn scoped(ip: Ipv6Addr, port: u16, address: &Bound<'_, PyTuple>) -> Option<SocketAddrV6> {
    let flow: u32 = address.get_item(2).ok()?.extract().ok()?;
    let scope: u32 = address.get_item(3).ok()?.extract().ok()?;
    Some(SocketAddrV6::new(ip, port, flow, scope))
}
