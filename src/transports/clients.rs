//! The set of a server's connections.
//!
//! asyncio's `Server` keeps its transports in a `WeakSet` since Python 3.13, which costs 7,300 instructions per
//! connection, a third of those spent outside the kernel. [`Clients`] replaces it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ffi::{make, name};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyIterator, PyList, PyString, PyType, PyWeakrefMethods, PyWeakrefReference};

/// A set of weak references to transports, with the methods of `WeakSet` that `Server` uses and a few more.
///
/// A transport refers to this instead of its server: a server's attributes are in a dictionary, and looking one up costs
/// 120 instructions.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug)]
pub(super) struct Clients {
    /// Weak, as the server has this as an attribute.
    server: Py<PyWeakrefReference>,
    /// Weak references by the addresses of their objects. No Python code runs under the lock.
    members: Mutex<HashMap<usize, Py<PyWeakrefReference>>>,
}

impl Clients {
    fn new(server: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            server: PyWeakrefReference::new(server)?.unbind(),
            members: Mutex::default(),
        })
    }

    /// The server, unless it was dropped: then its sockets are closed, and nothing waits for its end.
    fn server<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.server.bind(py).upgrade()
    }

    fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    fn members(&self) -> MutexGuard<'_, HashMap<usize, Py<PyWeakrefReference>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let references: Vec<_> = {
            let members = self.members();
            members
                .values()
                .map(|member| member.clone_ref(py))
                .collect()
        };
        let upgrade = |reference: Py<PyWeakrefReference>| reference.bind(py).upgrade();
        references.into_iter().filter_map(upgrade).collect()
    }
}

fn address(transport: &Bound<'_, PyAny>) -> usize {
    transport.as_ptr().addr()
}

#[pymethods]
impl Clients {
    fn add(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let reference = PyWeakrefReference::new(transport)?.unbind();
        // A replaced reference to a dead object at the same address is dropped after the lock is released.
        let before = self.members().insert(address(transport), reference);
        drop(before);
        Ok(())
    }

    fn discard(&self, transport: &Bound<'_, PyAny>) {
        let gone = self.members().remove(&address(transport));
        drop(gone);
    }

    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        {
            let alive = self.alive(py);
            let alive: Vec<_> = alive.iter().map(Bound::as_borrowed).collect();
            make::list(py, &alive)
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.copy(py)?.try_iter()
    }

    fn __contains__(&self, transport: &Bound<'_, PyAny>) -> bool {
        let py = transport.py();
        let members = self.members();
        let found = members.get(&address(transport));
        let member = found.map(|member| member.clone_ref(py));
        drop(members);
        // The address may have been reused by another object.
        member.is_some_and(|member| member.bind(py).upgrade().is_some_and(|it| it.is(transport)))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.alive(py).len()
    }
}

/// Gives a server that is about to listen a `Clients`: in place of asyncio's own set, if that is still empty, and before
/// Python 3.13, where asyncio only counts, as one more attribute, for `drain()`.
pub(crate) fn prepare(server: &Bound<'_, PyAny>) -> PyResult<()> {
    static WEAK_SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if !is_known(&server.get_type())? {
        return Ok(());
    }
    let py = server.py();
    let name = name!(py, "_clients");
    let is_free = match server.getattr_opt(name)? {
        None => !cfg!(Py_3_13),
        Some(clients) => {
            let weak_set = make::imported(&WEAK_SET, py, "weakref", "WeakSet")?;
            clients.get_type().is(weak_set) && clients.len()? == 0
        }
    };
    if is_free {
        server.setattr(name, Clients::new(server)?)?;
    }
    Ok(())
}

/// Whether it is asyncio's own class of servers or ours: others may do more for each connection.
fn is_known(class: &Bound<'_, PyType>) -> PyResult<bool> {
    static ASYNCIOS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static OURS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = class.py();
    let asyncios = make::imported(&ASYNCIOS, py, "asyncio.base_events", "Server")?;
    Ok(class.is(asyncios) || class.is(make::imported(&OURS, py, "yamanote._serving", "Server")?))
}

/// Prepares a server that is about to listen, and returns what its transports refer to.
pub(crate) fn enlist(server: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    prepare(server)?;
    membership(server).map(Bound::unbind)
}

/// What a transport refers to: the set that `prepare` gave to the server, else the server itself, which may be any
/// object.
pub(super) fn membership<'py>(server: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let clients = server.getattr_opt(name!(server.py(), "_clients"))?;
    let clients = clients.filter(|clients| clients.cast_exact::<Clients>().is_ok());
    Ok(clients.unwrap_or_else(|| server.clone()))
}

/// Adds a new connection to the server.
pub(super) fn attach(member: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = member.py();
    let attach = name!(py, "_attach");
    let Ok(clients) = member.cast_exact::<Clients>() else {
        return tell(member, attach, transport);
    };
    if let Some(server) = clients.get().server(py)
        && (!cfg!(Py_3_13) || is_closed(&server)?)
    {
        // A closed server raises its own error.
        tell(&server, attach, transport)?;
    }
    clients.get().add(transport)
}

/// Removes a lost connection from the server.
pub(super) fn detach(member: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = member.py();
    let detach = name!(py, "_detach");
    let Ok(clients) = member.cast_exact::<Clients>() else {
        return tell(member, detach, transport);
    };
    clients.get().discard(transport);
    if cfg!(Py_3_13) && !clients.get().is_empty() {
        return Ok(());
    }
    if let Some(server) = clients.get().server(py)
        && (!cfg!(Py_3_13) || is_closed(&server)?)
    {
        // The last connection of a closed server wakes the callers of `wait_closed()`.
        tell(&server, detach, transport)?;
    }
    Ok(())
}

/// Calls asyncio's own method, which takes the transport since Python 3.13.
fn tell(
    server: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if cfg!(Py_3_13) {
        server.call_method1(name, (transport,)).map(drop)
    } else {
        server.call_method0(name).map(drop)
    }
}

fn is_closed(server: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(server.getattr(name!(server.py(), "_sockets"))?.is_none())
}
