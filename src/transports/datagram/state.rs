//! A datagram transport and its state.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::descriptor::Descriptor;
use super::super::extra_info::ExtraInfo;
use super::super::flow::Flow;
use super::super::frame::Frame;
use super::super::lifecycle::{Life, Phase, Reading, Transport, fail, lose_later, update_interest};
use super::super::source;
use super::super::write_buffer::Writing;
use super::peers::Peers;
use super::queue::Queue;
use crate::addr::Version;
use crate::driver::Direction;
use crate::ffi::{data, name};
use crate::sys::socket;

/// `DatagramTransport`: an `asyncio.DatagramTransport` over a socket.
#[derive(Debug)]
pub(crate) struct Datagrams(pub(super) Frame<State>);

/// State that only the loop's thread uses. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State {
    // Fields are dropped in this order: deregistered first, then closed.
    pub(super) life: Life,
    /// The directions of the registration.
    pub(super) direction: Cell<Direction>,
    pub(super) descriptor: Descriptor,
    pub(super) extra: ExtraInfo,
    pub(super) kind: Kind,
    /// The socket is connected, so datagrams are sent without an address.
    pub(super) is_connected: bool,
    /// The socket is connected to an unnamed peer, as the ends of a `socketpair` are; only sends without an address
    /// work.
    pub(super) has_nameless_peer: bool,
    /// The default destination, if any.
    pub(super) address: Option<Py<PyAny>>,
    pub(super) reading: Cell<Reading>,
    pub(super) writing: Cell<Writing>,
    /// Datagrams received in one call with others and not delivered yet.
    pub(super) arrived: RefCell<VecDeque<Incoming>>,
    /// How many datagrams the next call requests.
    pub(super) batch: Cell<usize>,
    /// Errors since the last datagram.
    pub(super) failures: Cell<usize>,
    pub(super) peers: RefCell<Peers>,
    pub(super) queue: RefCell<Queue>,
    pub(super) flow: Flow,
    /// The loop's count of the callback that sent last.
    pub(super) wrote_in: Cell<u64>,
    /// Sends since the end, plus one, counted as in asyncio.
    pub(super) conn_lost: Cell<usize>,
}

pub(super) type Incoming = (Py<PyBytes>, Sender);

#[derive(Debug)]
pub(super) enum Sender {
    Internet(SocketAddr),
    Other(Py<PyAny>),
}

/// How addresses are converted, and how datagrams are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// UDP and similar: a datagram has at most 64 KiB, and one call receives many.
    Internet(Version),
    Unix,
    /// Any other family: the Python socket converts addresses and receives.
    Other,
}

impl Kind {
    pub(super) fn of(sock: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = sock.py();
        let family: i32 = sock.getattr(name!(py, "family"))?.extract()?;
        let kind: i32 = sock.getattr(name!(py, "type"))?.extract()?;
        let [v4, v6] = socket::INTERNET_FAMILIES;
        Ok(match family {
            _ if kind != socket::DATAGRAM => Self::Other,
            _ if family == v4 => Self::Internet(Version::V4),
            _ if family == v6 => Self::Internet(Version::V6),
            socket::UNIX_FAMILY => Self::Unix,
            _ => Self::Other,
        })
    }
}

impl State {
    /// The state of a new endpoint. `peer` is the socket's peer, `address` the default destination.
    pub(super) fn new(
        life: Life,
        kind: Kind,
        descriptor: Descriptor,
        extra: ExtraInfo,
        peer: Option<Bound<'_, PyAny>>,
        address: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        // As in asyncio, an empty address counts as none.
        let address = match address {
            Some(address) if address.is_truthy()? => Some(address.clone().unbind()),
            _ => None,
        };
        Ok(Self {
            life,
            kind,
            direction: Cell::new(Direction::Read),
            descriptor,
            extra,
            has_nameless_peer: matches!(&peer, Some(peer) if !peer.is_none() && !peer.is_truthy()?),
            is_connected: peer.map_or(Ok(false), |peer| peer.is_truthy())?,
            address,
            reading: Cell::new(Reading::Unborn),
            writing: Cell::new(Writing::Idle),
            arrived: RefCell::default(),
            batch: Cell::new(1),
            failures: Cell::new(0),
            peers: RefCell::default(),
            queue: RefCell::default(),
            flow: Flow::new(),
            wrote_in: Cell::new(0),
            conn_lost: Cell::new(0),
        })
    }

    /// Has the turn read: in this one if datagrams may have arrived, otherwise once the reactor fires.
    pub(super) fn arm(&self) {
        if let Some(registration) = &*self.life.registration.borrow() {
            if self.is_connected && self.direction.get() == Direction::Read {
                // On connected sockets the kernel reports errors, and the reactor reports an error without data as
                // writability only.
                let _ = registration.filled();
            }
            if registration.arm_read() || !self.arrived.borrow().is_empty() {
                registration.fire_read();
            }
        }
    }
}

/// Registers the socket anew: for receiving only, or also for sending while the kernel is full, because otherwise
/// each datagram that leaves the socket would be an event.
///
/// An error is a write event too, and the reactor keeps it set, so registering anew is also how later errors get
/// reported.
pub(super) fn register(
    this: &Bound<'_, Datagrams>,
    state: &State,
    direction: Direction,
) -> PyResult<()> {
    let local = data(this).local(this.py())?;
    if let Some(registration) = state.life.registration.take()
        && state.life.is_attached()
    {
        local.detach(&registration);
    }
    let registration = match local.register(state.life.fd, direction) {
        Ok(registration) => registration,
        Err(error) => return fail(this, "Fatal error on datagram transport", error),
    };
    if state.life.is_attached() {
        local.attach(&registration, source::of(this));
    }
    state.life.registration.replace(Some(registration));
    state.direction.set(direction);
    if state.reading.get() == Reading::On {
        state.arm();
        // The events of the previous registration are lost, so read once without one.
        state.life.fire_read();
    }
    Ok(())
}

/// Begins to close: stops receiving and releases the claim on the descriptor.
pub(super) fn begin_closing(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    state.life.phase.set(Phase::Closing);
    state.reading.set(Reading::Ended);
    drop(state.arrived.take());
    data(this).local(this.py())?.claims.release(state.life.fd);
    update_interest(this, state)
}

/// Schedules `connection_lost` for a later pass; from now on, sends are counted and dropped.
pub(super) fn lose(
    this: &Bound<'_, Datagrams>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.conn_lost.set(state.conn_lost.get() + 1);
    lose_later(this, &state.life, error)
}

/// Closes the endpoint without sending what is buffered.
pub(super) fn force_close(
    this: &Bound<'_, Datagrams>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    if state.conn_lost.get() > 0 {
        return Ok(());
    }
    drop(state.queue.take());
    state.writing.set(Writing::Idle);
    if state.life.is_open() {
        begin_closing(this, state)?;
    }
    update_interest(this, state)?;
    lose(this, state, error)
}
