//! The set of a server's connections.
//!
//! asyncio's `Server` keeps its transports in a `WeakSet` since Python 3.13, which costs 7,300 instructions per
//! connection, a third of those spent outside the kernel. [`Clients`] replaces it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ffi::{make, name};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyIterator, PyList, PyString, PyWeakrefMethods, PyWeakrefReference};

/// A set of weak references to transports, with the methods of `WeakSet` that `Server` uses and a few more.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Weak references by the addresses of their objects. No Python code runs under the lock.
    members: Mutex<HashMap<usize, Py<PyWeakrefReference>>>,
}

impl Clients {
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

/// Replaces the set of a server that is about to listen with a `Clients`, if it is asyncio's own and still empty.
pub(super) fn prepare(server: &Bound<'_, PyAny>) -> PyResult<()> {
    static SERVER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static WEAK_SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = server.py();
    if !cfg!(Py_3_13)
        || !server.get_type().is(make::imported(
            &SERVER,
            py,
            "asyncio.base_events",
            "Server",
        )?)
    {
        return Ok(());
    }
    let name = name!(py, "_clients");
    let clients = server.getattr(name)?;
    if clients
        .get_type()
        .is(make::imported(&WEAK_SET, py, "weakref", "WeakSet")?)
        && clients.len()? == 0
    {
        server.setattr(name, Clients::default())?;
    }
    Ok(())
}

/// Adds a new connection to the server.
pub(super) fn attach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    match own(server)? {
        Some(clients) => clients.get().add(transport),
        // A closed server raises its own error.
        None => tell(server, name!(server.py(), "_attach"), transport),
    }
}

/// Removes a lost connection from the server.
pub(super) fn detach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    match own(server)? {
        Some(clients) => {
            clients.get().discard(transport);
            Ok(())
        }
        // The last connection of a closed server wakes the callers of `wait_closed()`.
        None => tell(server, name!(server.py(), "_detach"), transport),
    }
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

/// The set that `prepare` gave to a server; `None` once the server is closed.
fn own<'py>(server: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Clients>>> {
    if !cfg!(Py_3_13) {
        return Ok(None);
    }
    let py = server.py();
    // The server may be any object here.
    let Some(clients) = server.getattr_opt(name!(py, "_clients"))? else {
        return Ok(None);
    };
    let Ok(clients) = clients.cast_into_exact::<Clients>() else {
        return Ok(None);
    };
    let is_closed = server.getattr(name!(py, "_sockets"))?.is_none();
    Ok((!is_closed).then_some(clients))
}
