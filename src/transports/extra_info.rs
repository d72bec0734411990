//! `get_extra_info`: socket, addresses, and the entries that the transport's creator added.

use std::cell::RefCell;

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
    local: Option<Name>,
    peer: Option<Name>,
    made: RefCell<Option<Py<PyDict>>>,
}

impl ExtraInfo {
    /// For a socket whose addresses come from the kernel and that has no Python object yet.
    pub(crate) fn from_names(local: Option<Name>, peer: Option<Name>) -> Self {
        Self {
            local,
            peer,
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
            local: None,
            peer: None,
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
        info.set_item(name!(py, "sockname"), address(py, self.local)?)?;
        info.set_item(name!(py, "peername"), address(py, self.peer)?)?;
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
                Ok("sockname") => address(py, self.local)?,
                Ok("peername") => address(py, self.peer)?,
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

/// The address as a Python object, if there is one.
pub(super) fn address(py: Python<'_>, name: Option<Name>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Some(name) = name else { return Ok(None) };
    let internet = name.internet();
    let address = internet.map(|address| addr::to_python(py, &address));
    address
        .or_else(|| name.unix().map(|name| addr::path_to_python(py, name)))
        .transpose()
}
