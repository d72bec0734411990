//! A cache of recent peer addresses and the Python objects that the protocol received for them.

use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;

use crate::addr;

/// A cache of one entry that grows with the number of peers. Its objects are tuples of `str` and `int`, so dropping
/// one runs no Python code.
#[derive(Debug, Default)]
pub(super) struct Peers {
    entries: Vec<Option<(SocketAddr, Py<PyAny>)>>,
    /// Index of the address delivered last, which is the likely destination of a reply.
    current: usize,
}

impl Peers {
    /// The Python object of a cached address.
    pub(super) fn find<'py>(
        &mut self,
        py: Python<'py>,
        address: &SocketAddr,
    ) -> Option<Bound<'py, PyAny>> {
        let index = self.index(address);
        match self.entries.get(index) {
            Some(Some((known, object))) if known == address => {
                self.current = index;
                Some(object.bind(py).clone())
            }
            _ => None,
        }
    }

    /// Adds an address that is not cached.
    pub(super) fn add(&mut self, address: SocketAddr, object: &Bound<'_, PyAny>) {
        let mut index = self.index(&address);
        let taken = self.entries.get(index).is_none_or(Option::is_some);
        if taken && self.entries.len() < MOST {
            let grown = (self.entries.len() * 8).clamp(1, MOST);
            self.entries = std::iter::repeat_with(|| None).take(grown).collect();
            index = self.index(&address);
        }
        self.entries[index] = Some((address, object.clone().unbind()));
        self.current = index;
    }

    /// The address of `object`, if that is the object delivered last.
    pub(super) fn address_of(&self, object: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        let (address, known) = self.entries.get(self.current)?.as_ref()?;
        known.is(object).then_some(*address)
    }

    /// The index of an address; the number of entries is 0 or a power of two.
    fn index(&self, address: &SocketAddr) -> usize {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        (usize::from(address.port()) ^ usize::from(ip)) & self.entries.len().saturating_sub(1)
    }
}

/// The Python object for `address`. Not a method: the allocation may run the garbage collector, and with it Python
/// code, while the cache must not be borrowed.
pub(super) fn object<'py>(
    py: Python<'py>,
    peers: &std::cell::RefCell<Peers>,
    address: &SocketAddr,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(object) = peers.borrow_mut().find(py, address) {
        return Ok(object);
    }
    let object = addr::to_python(py, address)?;
    peers.borrow_mut().add(*address, &object);
    Ok(object)
}

/// Maximum number of entries: the number of peers expected to be active at about the same time.
const MOST: usize = 64;
