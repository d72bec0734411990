//! Datagrams that wait for room in the kernel.

use std::collections::VecDeque;
use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ffi::make;
use crate::scheduler::Visit;
use crate::sys::fork::Generation;

/// A queue of datagrams, sent from the front.
#[derive(Debug, Default)]
pub(super) struct Queue {
    datagrams: VecDeque<Outgoing>,
    size: usize,
    /// The process that queued the first one: a forked child must not send its parent's datagrams.
    queued_in: Option<Generation>,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) data: Py<PyBytes>,
    pub(super) to: Destination,
}

#[derive(Debug)]
pub(super) enum Destination {
    /// The peer that the socket is connected to.
    Peer,
    Internet(SocketAddr),
    /// An address that the Python socket must resolve or reject: a host name, a path or an invalid object.
    Python(Py<PyAny>),
}

impl Queue {
    /// Queued bytes, including the per-datagram overhead that asyncio counts.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Takes out what a forked child inherited from its parent; to be dropped once the queue is not borrowed.
    pub(super) fn inherited(&mut self) -> Option<Self> {
        let inherited = self.queued_in.is_some_and(Generation::is_over);
        inherited.then(|| std::mem::take(self))
    }

    /// Appends a datagram. On `MemoryError` the queue is unchanged.
    pub(super) fn push(&mut self, py: Python<'_>, datagram: Outgoing) -> PyResult<()> {
        self.datagrams.try_reserve(1).map_err(make::no_memory)?;
        if self.datagrams.is_empty() {
            self.queued_in = Some(Generation::current());
        }
        self.size += weight(py, &datagram);
        self.datagrams.push_back(datagram);
        Ok(())
    }

    /// Puts a datagram that `pop` returned back at the front.
    pub(super) fn push_front(&mut self, py: Python<'_>, datagram: Outgoing) {
        self.size += weight(py, &datagram);
        self.datagrams.push_front(datagram);
    }

    /// Removes the first datagram; the caller drops it once the queue is not borrowed.
    pub(super) fn pop(&mut self, py: Python<'_>) -> Option<Outgoing> {
        let datagram = self.datagrams.pop_front()?;
        self.size -= weight(py, &datagram);
        Some(datagram)
    }

    /// Whether the first datagram must be sent by the Python socket.
    pub(super) fn begins_with_python(&self) -> bool {
        matches!(
            self.datagrams.front(),
            Some(Outgoing {
                to: Destination::Python(_),
                ..
            })
        )
    }

    /// Data and address of the leading datagrams that native code can send.
    pub(super) fn native<'a>(
        &'a self,
        py: Python<'a>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a SocketAddr>)> {
        self.datagrams.iter().map_while(move |datagram| {
            let address = match &datagram.to {
                Destination::Peer => None,
                Destination::Internet(address) => Some(address),
                Destination::Python(_) => return None,
            };
            Some((datagram.data.as_bytes(py), address))
        })
    }

    pub(super) fn objects(&self, visit: Visit<'_>) {
        for datagram in &self.datagrams {
            if let Destination::Python(address) = &datagram.to {
                visit(address);
            }
        }
    }
}

fn weight(py: Python<'_>, datagram: &Outgoing) -> usize {
    datagram.data.as_bytes(py).len() + HEADER
}

/// Bytes that flow control adds for each datagram, since Python 3.13.
const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };
