//! The transport of a datagram socket: its state, birth and end.
//!
//! Receiving is in `read`, sending in `write`, what Python calls in `methods`.

mod methods;
mod peers;
mod queue;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use super::descriptor::{Descriptor, fileno};
use super::extra_info::ExtraInfo;
use super::flow_control::FlowControl;
use super::lifecycle::{self, Life, Phase, Reading, Transport, fail, lose_later, update_interest};
use super::protocol;
use super::write_buffer::Writing;
use crate::addr::Version;
use crate::driver::Direction;
use crate::ffi::context::copy_current;
use crate::ffi::{Class, Members, NativeClass, OwnerCell, Visitor, data, make, name, new_instance};
use crate::scheduler::{Core, READ, WRITE};
use crate::sys::socket;
use peers::Peers;
use queue::Queue;

/// `DatagramTransport`: an `asyncio.DatagramTransport` over a socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    core: Py<Core>,
    /// What the protocol's methods run in.
    context: Py<PyAny>,
    state: OwnerCell<State>,
}

/// What belongs to the loop's thread. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State {
    // Dropped in this order: off the reactor first, then closed.
    life: Life,
    /// What the registration is for.
    direction: Cell<Direction>,
    descriptor: Descriptor,
    extra: ExtraInfo,
    kind: Kind,
    /// The socket is connected: datagrams are sent without an address.
    is_connected: bool,
    /// The socket is connected to one that has no name, an end of a `socketpair`: so it is without an address only.
    has_nameless_peer: bool,
    /// Where everything goes, or nothing.
    address: Option<Py<PyAny>>,
    reading: Cell<Reading>,
    writing: Cell<Writing>,
    /// Received with others in one call, and not delivered yet.
    arrived: RefCell<VecDeque<Incoming>>,
    /// How many datagrams the next call asks for.
    batch: Cell<usize>,
    /// Errors since the last datagram.
    failures: Cell<usize>,
    peers: RefCell<Peers>,
    queue: RefCell<Queue>,
    flow: Cell<FlowControl>,
    /// `(low, high)` as `set_write_buffer_limits` was given them.
    marks: RefCell<Option<Py<PyAny>>>,
    /// The callback that sent last, by the loop's count.
    wrote_in: Cell<u64>,
    /// Sends since the end, plus one, as asyncio counts them.
    conn_lost: Cell<usize>,
}

type Incoming = (Py<PyBytes>, Sender);

#[derive(Debug)]
enum Sender {
    Internet(SocketAddr),
    Other(Py<PyAny>),
}

/// How addresses are read and written, and datagrams received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// UDP and its like: never larger than 64 KiB, many in one call.
    Internet(Version),
    Unix,
    /// The Python socket does it.
    Other,
}

impl Kind {
    fn of(sock: &Bound<'_, PyAny>) -> PyResult<Self> {
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

/// A transport over a Python socket, which the transport will close. `connection_made` is called in the
/// next pass, then receiving begins, then `waiter` is done.
pub(crate) fn from_socket<'py>(
    core: &Bound<'py, Core>,
    sock: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    address: Option<&Bound<'py, PyAny>>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = core.py();
    core.get().check_closed()?;
    protocol::check(protocol)?;
    let fd = fileno(sock)?;
    let descriptor = Descriptor::from_socket(sock);
    let extra = ExtraInfo::from_socket(sock, extra)?;
    let peer = extra.get(name!(py, "peername"), &descriptor)?;
    // As asyncio has it: an empty address is none.
    let address = match address {
        Some(address) if address.is_truthy()? => Some(address.clone().unbind()),
        _ => None,
    };
    let state = State {
        life: Life::new(fd, None, protocol),
        kind: Kind::of(sock)?,
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
        flow: Cell::new(FlowControl::new()),
        marks: RefCell::new(None),
        wrote_in: Cell::new(0),
        conn_lost: Cell::new(0),
    };
    let local = core.get().local(py)?;
    state
        .life
        .registration
        .replace(Some(local.register(fd, Direction::Read)?));
    let transport = Datagrams {
        core: core.clone().unbind(),
        context: copy_current(py)?.unbind(),
        state: OwnerCell::new(state),
    };
    let this = new_instance(py, transport)?;
    lifecycle::start(&this, &local, fd, waiter);
    Ok(this.into_any())
}

impl State {
    /// Has the turn look for datagrams, now where some may be there.
    fn arm(&self) {
        if let Some(registration) = &*self.life.registration.borrow() {
            if self.is_connected && self.direction.get() == Direction::Read {
                // The kernel has errors for connected sockets, and the reactor tells of one that comes alone
                // to those who want to write.
                let _ = registration.filled();
            }
            if registration.arm_read() || !self.arrived.borrow().is_empty() {
                registration.fire_read();
            }
        }
    }
}

/// Puts the socket on the reactor afresh: for receiving alone, or for sending too while the kernel is full,
/// because otherwise each datagram that leaves would be an event.
///
/// An error is such an event as well, and the reactor never forgets it: this is also how it is told again.
fn register(this: &Bound<'_, Datagrams>, state: &State, direction: Direction) -> PyResult<()> {
    let local = data(this).core.get().local(this.py())?;
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
        local.attach(&registration, lifecycle::source(this, state.life.fd));
    }
    state.life.registration.replace(Some(registration));
    state.direction.set(direction);
    if state.reading.get() == Reading::On {
        state.arm();
        // What the registration before was about to tell is not known any more.
        state.life.fire_read();
    }
    Ok(())
}

/// The beginning of the end: no more receiving, and no claim on the descriptor.
fn begin_closing(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    state.life.phase.set(Phase::Closing);
    state.reading.set(Reading::Ended);
    drop(state.arrived.take());
    data(this)
        .core
        .get()
        .local(this.py())?
        .release(state.life.fd);
    update_interest(this, state)
}

/// Has `connection_lost` called in a later pass; from now on, sends are counted and dropped.
fn lose(
    this: &Bound<'_, Datagrams>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.conn_lost.set(state.conn_lost.get() + 1);
    lose_later(this, &state.life, error)
}

/// Ends the endpoint without sending what is buffered.
fn force_close(
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

impl Transport for Datagrams {
    type State = State;

    const FATAL: &'static str = "Fatal error on datagram transport";

    fn core(&self) -> &Py<Core> {
        &self.core
    }

    fn context(&self) -> &Py<PyAny> {
        &self.context
    }

    fn cell(&self) -> &OwnerCell<State> {
        &self.state
    }

    fn life(state: &State) -> &Life {
        &state.life
    }

    fn is_waiting(state: &State) -> bool {
        state.reading.get() == Reading::On || state.writing.get() == Writing::Blocked
    }

    fn begin(this: &Bound<'_, Self>, state: &State) -> PyResult<()> {
        if state.reading.get() != Reading::Unborn {
            return Ok(());
        }
        state.reading.set(Reading::On);
        let begun = update_interest(this, state);
        state.arm();
        begun
    }

    fn on_ready(this: &Bound<'_, Self>, state: &State, ready: u8) -> PyResult<()> {
        let is_blocked = state.writing.get() == Writing::Blocked;
        // Without anything to send, this is an error to be received.
        let is_error = ready & WRITE != 0 && !is_blocked;
        if is_error && state.reading.get() == Reading::On {
            register(this, state, Direction::Read)?;
        }
        if ready & READ != 0 || is_error {
            read::on_readable(this, state)?;
        }
        if ready & WRITE != 0 && state.writing.get() == Writing::Blocked {
            write::flush(this, state)?;
        }
        Ok(())
    }

    fn force_close(
        this: &Bound<'_, Self>,
        state: &State,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        force_close(this, state, error)
    }

    fn close_descriptor(py: Python<'_>, state: &State) -> PyResult<()> {
        state.descriptor.close(py)
    }

    fn closed(_this: &Bound<'_, Self>, state: &State) -> PyResult<()> {
        drop((state.queue.take(), state.peers.take()));
        Ok(())
    }
}

impl NativeClass for Datagrams {
    const NAME: &'static CStr = c"yamanote._yamanote.DatagramTransport";
    const DOC: &'static CStr = c"A transport over a datagram socket.";
    const HAS_DICT: bool = true; // As asyncio's have.

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    /// asyncio's own is both: it inherits what its streams inherit, and CPython's tests look.
    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        let bases = (
            make::import(py, "asyncio.transports", "Transport")?,
            make::import(py, "asyncio.transports", "DatagramTransport")?,
        );
        let body = make::dict(py)?;
        body.set_item("__slots__", ())?;
        body.set_item("__module__", "yamanote._yamanote")?;
        let class = py.get_type::<PyType>();
        let class = class.call1(("_DatagramTransportBase", bases, body))?;
        Ok(class.cast_into()?)
    }

    fn members() -> Members {
        methods::members()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let state = self.state.while_stopped();
        visitor.object(&self.core);
        visitor.object(&self.context);
        visitor.option(state.address.as_ref());
        state.life.traverse(visitor);
        if let Ok(marks) = state.marks.try_borrow() {
            visitor.option(marks.as_ref());
        }
        let mut visit = |object: &Py<PyAny>| visitor.object(object);
        state.extra.objects(&mut visit);
        state.descriptor.object(&mut visit);
        if let Ok(queue) = state.queue.try_borrow() {
            queue.objects(&mut visit);
        }
        if let Ok(arrived) = state.arrived.try_borrow() {
            for (_, sender) in &*arrived {
                if let Sender::Other(address) = sender {
                    visit(address);
                }
            }
        }
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        drop((
            state.life.protocol.take(),
            state.queue.take(),
            state.arrived.take(),
        ));
    }

    fn finalize(this: &Bound<'_, Self>) {
        lifecycle::finalize(this);
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        methods::repr(this)
    }
}
