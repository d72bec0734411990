//! `get_extra_info`: socket, addresses, and the entries that the transport's creator added.

use std::cell::RefCell;
use std::net::SocketAddr;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::descriptor::Descriptor;
use crate::addr;
use crate::ffi::{make, name};
use crate::scheduler::Visit;
use crate::sys::socket::Name;

/// What a transport knows about its connection, converted to Python objects on the first request.
#[derive(Debug)]
pub(crate) struct ExtraInfo {
    local: Address,
    peer: Address,
    made: RefCell<Option<Py<PyDict>>>,
}

/// A socket's address. The kernel's own form takes 128 bytes for any, and every connection has two.
#[derive(Debug)]
pub(super) enum Address {
    Unknown,
    Internet(SocketAddr),
    /// [`Name::unix`].
    Unix(Box<[u8]>),
}

impl From<&Name> for Address {
    fn from(name: &Name) -> Self {
        match (name.internet(), name.unix()) {
            (Some(address), _) => Self::Internet(address),
            (None, Some(path)) => Self::Unix(path.into()),
            (None, None) => Self::Unknown,
        }
    }
}

impl Address {
    /// The address as a Python object, if there is one.
    pub(super) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Self::Unknown => Ok(None),
            Self::Internet(address) => addr::to_python(py, address).map(Some),
            Self::Unix(path) => addr::path_to_python(py, path).map(Some),
        }
    }
}

impl ExtraInfo {
    /// For a socket whose addresses come from the kernel and that has no Python object yet.
    pub(crate) fn from_names(local: Option<Name>, peer: Option<Name>) -> Self {
        let address = |name: Option<Name>| name.as_ref().map_or(Address::Unknown, Address::from);
        Self {
            local: address(local),
            peer: address(peer),
            made: RefCell::new(None),
        }
    }

    /// For a Python socket: calls its methods for the addresses; `extra` may contain the peer's already.
    pub(crate) fn from_socket(
        socket: &Bound<'_, PyAny>,
        extra: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = socket.py();
        let info = make::dict(py)?;
        if let Some(extra) = extra {
            info.update(extra.cast::<PyDict>()?.as_mapping())?;
        }
        info.set_item(name!(py, "socket"), transport_socket(socket)?)?;
        // Errors are ignored, as in asyncio: an unbound or unconnected socket has no address.
        let address = socket.call_method0(name!(py, "getsockname")).ok();
        info.set_item(name!(py, "sockname"), address)?;
        let peer = name!(py, "peername");
        if !info.contains(peer)? {
            info.set_item(peer, socket.call_method0(name!(py, "getpeername")).ok())?;
        }
        Ok(Self {
            local: Address::Unknown,
            peer: Address::Unknown,
            made: RefCell::new(Some(info.unbind())),
        })
    }

    /// The dictionary behind `get_extra_info`.
    fn dict<'py>(&self, py: Python<'py>, descriptor: &Descriptor) -> PyResult<Bound<'py, PyDict>> {
        if let Some(made) = &*self.made.borrow() {
            return Ok(made.bind(py).clone());
        }
        let info = make::dict(py)?;
        let socket = transport_socket(&descriptor.socket(py)?)?;
        info.set_item(name!(py, "socket"), socket)?;
        info.set_item(name!(py, "sockname"), self.local.to_python(py)?)?;
        info.set_item(name!(py, "peername"), self.peer.to_python(py)?)?;
        self.made.replace(Some(info.clone().unbind()));
        Ok(info)
    }

    /// The value of `name`, if there is one.
    pub(crate) fn get<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        descriptor: &Descriptor,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = name.py();
        if self.made.borrow().is_none()
            && let Ok(name) = name.cast_exact::<PyString>()
        {
            let address = match name.to_str() {
                Ok("socket") => None,
                Ok("sockname") => self.local.to_python(py)?,
                Ok("peername") => self.peer.to_python(py)?,
                // Streams ask for the TLS context of each connection: the socket object is not created for that.
                _ => return Ok(None),
            };
            if address.is_some() {
                return Ok(address);
            }
        }
        match self.dict(py, descriptor)?.as_any().get_item(name) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_instance_of::<PyKeyError>(py) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn objects(&self, visit: Visit<'_>) {
        if let Ok(made) = self.made.try_borrow()
            && let Some(made) = &*made
        {
            visit(made.as_any());
        }
    }
}

/// The socket as the program may use it: without the methods that would interfere with the transport.
pub(crate) fn transport_socket<'py>(socket: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static TRANSPORT_SOCKET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    make::imported(
        &TRANSPORT_SOCKET,
        socket.py(),
        "asyncio.trsock",
        "TransportSocket",
    )?
    .call1((socket,))
}
