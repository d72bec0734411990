//! Datagrams that wait for the kernel.

use std::collections::VecDeque;
use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ffi::make;
use crate::scheduler::Visit;
use crate::sys::fork::Generation;

/// Sent from the front.
#[derive(Debug, Default)]
pub(super) struct Queue {
    datagrams: VecDeque<Outgoing>,
    size: usize,
    /// Where the first was queued: what a forked child inherits is its parent's to send.
    queued_in: Option<Generation>,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) data: Py<PyBytes>,
    pub(super) to: Destination,
}

#[derive(Debug)]
pub(super) enum Destination {
    /// Where the socket is connected to.
    Peer,
    Internet(SocketAddr),
    /// What the Python socket makes of it: a host name, a path, something wrong.
    Python(Py<PyAny>),
}

impl Queue {
    /// Bytes that wait, with what asyncio adds for each datagram.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// What a forked child has inherited, taken out; to be dropped when the queue is not borrowed.
    pub(super) fn inherited(&mut self) -> Option<Self> {
        let inherited = self.queued_in.is_some_and(Generation::is_over);
        inherited.then(|| std::mem::take(self))
    }

    /// `MemoryError` leaves the queue as it was.
    pub(super) fn push(&mut self, py: Python<'_>, datagram: Outgoing) -> PyResult<()> {
        self.datagrams.try_reserve(1).map_err(make::no_memory)?;
        if self.datagrams.is_empty() {
            self.queued_in = Some(Generation::current());
        }
        self.size += weight(py, &datagram);
        self.datagrams.push_back(datagram);
        Ok(())
    }

    /// Puts back what `pop` gave.
    pub(super) fn push_front(&mut self, py: Python<'_>, datagram: Outgoing) {
        self.size += weight(py, &datagram);
        self.datagrams.push_front(datagram);
    }

    /// The first datagram, which the caller drops when the queue is not borrowed.
    pub(super) fn pop(&mut self, py: Python<'_>) -> Option<Outgoing> {
        let datagram = self.datagrams.pop_front()?;
        self.size -= weight(py, &datagram);
        Some(datagram)
    }

    /// Whether the first one has to be sent by the Python socket.
    pub(super) fn begins_with_python(&self) -> bool {
        matches!(
            self.datagrams.front(),
            Some(Outgoing {
                to: Destination::Python(_),
                ..
            })
        )
    }

    /// Data and address of those at the front that native code can send.
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

/// What flow control adds for each datagram, since Python 3.13.
const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };
