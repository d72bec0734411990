//! Addresses that came lately, as the objects that the protocol was given.

use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;

use crate::addr;

/// A cache of one entry that grows when there are more peers. Its objects are tuples of `str` and `int`:
/// letting go of one runs no Python code.
#[derive(Debug, Default)]
pub(super) struct Peers {
    entries: Vec<Option<(SocketAddr, Py<PyAny>)>>,
    /// Index of the one delivered last, which answers go to.
    current: usize,
}

impl Peers {
    /// The Python object of an address that is known.
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

    /// Remembers an address that was not known.
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

    /// The address behind the object that was delivered last, if that is `object`.
    pub(super) fn address_of(&self, object: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        let (address, known) = self.entries.get(self.current)?.as_ref()?;
        known.is(object).then_some(*address)
    }

    /// The number of entries is 0 or a power of two.
    fn index(&self, address: &SocketAddr) -> usize {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        (usize::from(address.port()) ^ usize::from(ip)) & self.entries.len().saturating_sub(1)
    }
}

/// The object for `address`. Not a method: making one may run the collector, and with it Python code.
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

/// Entries at most: as many peers as talk at about the same time.
const MOST: usize = 64;
