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
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};

use super::descriptor::{Descriptor, fileno};
use super::extra_info::ExtraInfo;
use super::flow_control::FlowControl;
use super::protocol::{self, callback_failed, step_failed};
use super::stream::{Phase, Reading, wake_waiter};
use super::warnings;
use super::write_buffer::Writing;
use crate::addr::Version;
use crate::driver::{Direction, Registration};
use crate::ffi::context::{copy_current, run_in};
use crate::ffi::{
    Class, Entered, Members, NativeClass, OwnerCell, Visitor, call, data, make, name, new_instance,
};
use crate::scheduler::{Core, Deferred, Local, READ, Source, Visit, WRITE, is_exit};
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
struct State {
    fd: RawFd,
    kind: Kind,
    // Dropped in this order: off the reactor first, then closed.
    registration: RefCell<Option<Registration>>,
    /// What the registration is for.
    direction: Cell<Direction>,
    descriptor: Descriptor,
    extra: ExtraInfo,
    /// The socket is connected: datagrams are sent without an address.
    is_connected: bool,
    /// The socket is connected to one that has no name, an end of a `socketpair`: so it is without an address only.
    has_nameless_peer: bool,
    /// Where everything goes, or nothing.
    address: Option<Py<PyAny>>,
    protocol: RefCell<Option<Py<PyAny>>>,
    phase: Cell<Phase>,
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
    /// What `connection_lost` runs in.
    lost_in: RefCell<Option<Py<PyAny>>>,
    /// The loop's table holds this transport.
    attached: Cell<bool>,
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
        fd,
        kind: Kind::of(sock)?,
        registration: RefCell::new(None),
        direction: Cell::new(Direction::Read),
        descriptor,
        extra,
        has_nameless_peer: matches!(&peer, Some(peer) if !peer.is_none() && !peer.is_truthy()?),
        is_connected: peer.map_or(Ok(false), |peer| peer.is_truthy())?,
        address,
        protocol: RefCell::new(Some(protocol.clone().unbind())),
        phase: Cell::new(Phase::Open),
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
        lost_in: RefCell::new(None),
        attached: Cell::new(false),
    };
    let local = core.get().local(py)?;
    state
        .registration
        .replace(Some(local.register(fd, Direction::Read)?));
    let transport = Datagrams {
        core: core.clone().unbind(),
        context: copy_current(py)?.unbind(),
        state: OwnerCell::new(state),
    };
    let this = new_instance(py, transport)?;
    local.claim(fd);
    local.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: waiter.map(|waiter| waiter.clone().unbind()),
        run: born,
    });
    Ok(this.into_any())
}

/// Calls `connection_made`, begins to receive, completes the waiter.
fn born(this: &Bound<'_, PyAny>, waiter: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = methods::cast(this)?;
    let py = this.py();
    let state = data(this).state(py)?;
    let name = name!(py, "connection_made");
    let made = run_in(data(this).context.bind(py), |_| {
        call_protocol(this, &state, name, [this.as_any()])
    });
    // What ends the run does not keep the endpoint from beginning: the next run finds it alive.
    let mut begun = Ok(());
    if state.reading.get() == Reading::Unborn {
        state.reading.set(Reading::On);
        begun = update_interest(this, &state);
        state.arm();
    }
    let woken = waiter.map_or(Ok(()), |waiter| wake_waiter(&waiter));
    made.and(begun).and(woken)
}

/// Calls a method of the protocol as a callback of the loop's: what it raises is reported, and nothing else
/// happens.
fn call_protocol<'py, const N: usize>(
    this: &Bound<'py, Datagrams>,
    state: &State,
    name: &Bound<'py, PyString>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<()> {
    let py = this.py();
    let Some(protocol) = state.protocol(py) else {
        return Ok(());
    };
    let called = call::method(&protocol, name, arguments);
    called.map(drop).or_else(|error| {
        let core = data(this).core.bind(py);
        callback_failed(core, this.as_any(), &protocol, name, &arguments, error)
    })
}

impl Datagrams {
    /// The state; an error when it is at work on another thread.
    #[inline]
    fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, State>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl State {
    fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }

    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        let before = self.protocol.replace(Some(protocol.clone().unbind()));
        drop(before);
    }

    fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Has the turn look for datagrams, now where some may be there.
    fn arm(&self) {
        if let Some(registration) = &*self.registration.borrow() {
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

    /// Has the next pass go on with receiving.
    fn fire_read(&self) {
        if let Some(registration) = &*self.registration.borrow() {
            registration.fire_read();
        }
    }
}

/// Keeps the loop's table right: it holds the transport while something is awaited in either direction, as
/// asyncio's selector does.
fn update_interest(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let wanted = state.reading.get() == Reading::On || state.writing.get() == Writing::Blocked;
    if wanted == state.attached.get() {
        return Ok(());
    }
    let local = data(this).core.get().local(this.py())?;
    state.attached.set(wanted);
    if let Some(registration) = &*state.registration.borrow() {
        if wanted {
            local.attach(registration, source(this, state.fd));
        } else {
            local.detach(registration);
        }
    }
    Ok(())
}

/// Puts the socket on the reactor afresh: for receiving alone, or for sending too while the kernel is full,
/// because otherwise each datagram that leaves would be an event.
///
/// An error is such an event as well, and the reactor never forgets it: this is also how it is told again.
fn register(this: &Bound<'_, Datagrams>, state: &State, direction: Direction) -> PyResult<()> {
    let local = data(this).core.get().local(this.py())?;
    if let Some(registration) = state.registration.take()
        && state.attached.get()
    {
        local.detach(&registration);
    }
    let registration = match local.register(state.fd, direction) {
        Ok(registration) => registration,
        Err(error) => return fail(this, "Fatal error on datagram transport", error),
    };
    if state.attached.get() {
        local.attach(&registration, source(this, state.fd));
    }
    state.registration.replace(Some(registration));
    state.direction.set(direction);
    if state.reading.get() == Reading::On {
        state.arm();
        // What the registration before was about to tell is not known any more.
        state.fire_read();
    }
    Ok(())
}

fn source(this: &Bound<'_, Datagrams>, fd: RawFd) -> Arc<dyn Source> {
    Arc::new(DatagramSource {
        fd,
        transport: this.clone().unbind(),
    })
}

/// The beginning of the end: no more receiving, and no claim on the descriptor.
fn begin_closing(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    state.phase.set(Phase::Closing);
    state.reading.set(Reading::Ended);
    drop(state.arrived.take());
    data(this).core.get().local(this.py())?.release(state.fd);
    update_interest(this, state)
}

/// Has `connection_lost` called in a later pass.
fn lose_later(
    this: &Bound<'_, Datagrams>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.conn_lost.set(state.conn_lost.get() + 1);
    // As asyncio's `call_soon` would: what ended the endpoint gives the context.
    let context = copy_current(this.py())?.unbind();
    drop(state.lost_in.replace(Some(context)));
    data(this).core.get().local(this.py())?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: error.map(Bound::unbind),
        run: lost,
    });
    Ok(())
}

/// Ends the endpoint because of an error that is nobody's datagram's.
fn fail(this: &Bound<'_, Datagrams>, message: &str, error: PyErr) -> PyResult<()> {
    let py = this.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let state = data(this).state(py)?;
    let (core, protocol) = (data(this).core.bind(py), state.protocol(py));
    let error = protocol::traced(core, error);
    let copy = error.clone_ref(py);
    let told = protocol::report_fatal(core, message, copy, this.as_any(), protocol.as_ref());
    told.and(force_close(
        this,
        &state,
        Some(error.into_value(py).into_bound(py).into_any()),
    ))
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
    if state.is_open() {
        begin_closing(this, state)?;
    }
    update_interest(this, state)?;
    lose_later(this, state, error)
}

/// Calls `connection_lost`, then lets go of everything.
fn lost(this: &Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = methods::cast(this)?;
    let py = this.py();
    let state = data(this).state(py)?;
    if state.phase.replace(Phase::Closed) == Phase::Closed {
        return Ok(());
    }
    let error = error.unwrap_or_else(|| py.None().into_bound(py));
    let context = state.lost_in.take();
    let context = context.unwrap_or_else(|| data(this).context.clone_ref(py));
    let told = run_in(context.bind(py), |_| {
        call_protocol(this, &state, name!(py, "connection_lost"), [&error])
    });
    state.writing.set(Writing::Idle);
    state.reading.set(Reading::Ended);
    let forgotten = update_interest(this, &state);
    drop(state.registration.take());
    let closed = forgotten.and(state.descriptor.close(py));
    let protocol = state.protocol(py);
    drop((
        state.queue.take(),
        state.peers.take(),
        state.protocol.take(),
    ));
    told.and(closed.or_else(|error| {
        let (core, step) = (data(this).core.bind(py), "_call_connection_lost");
        step_failed(core, this.as_any(), protocol.as_ref(), step, error)
    }))
}

/// A transport in the loop's table.
struct DatagramSource {
    fd: RawFd,
    transport: Py<Datagrams>,
}

impl Source for DatagramSource {
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        let py = core.py();
        let this = self.transport.bind(py);
        let state = data(this).state(py)?;
        run_in(data(this).context.bind(py), |_| {
            let is_blocked = state.writing.get() == Writing::Blocked;
            // Without anything to send, this is an error to be received.
            let is_error = ready & WRITE != 0 && !is_blocked;
            if is_error && state.reading.get() == Reading::On {
                register(this, &state, Direction::Read)?;
            }
            if (ready & READ != 0 || is_error)
                && let Err(error) = read::on_readable(this, &state)
            {
                // The run ends here, and the next one goes on: the reactor would not tell again.
                if let Some(registration) = &*state.registration.borrow() {
                    registration.slot().fire(READ | ready & WRITE);
                }
                return Err(error);
            }
            if ready & WRITE != 0 && state.writing.get() == Writing::Blocked {
                write::flush(this, &state)?;
            }
            Ok(())
        })
    }

    fn on_failed(&self, core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
        let this = self.transport.bind(core.py());
        let context = data(this).context.bind(core.py());
        run_in(context, |_| {
            fail(this, "Fatal error on datagram transport", error)
        })
    }

    fn renew(&self, py: Python<'_>, local: &Local) {
        let state = data(self.transport.bind(py)).state.inside();
        local.revive(state.registration.borrow().as_ref());
    }

    fn transport<'py>(&self, py: Python<'py>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        (fd == self.fd).then(|| self.transport.bind(py).as_any().clone())
    }

    fn objects(&self, visit: Visit<'_>) {
        visit(self.transport.as_any());
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
        for cell in [&state.protocol, &state.lost_in, &state.marks] {
            if let Ok(object) = cell.try_borrow() {
                visitor.option(object.as_ref());
            }
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
            state.protocol.take(),
            state.queue.take(),
            state.arrived.take(),
        ));
    }

    /// Nobody can close it any more: says so and closes the socket, as asyncio's transports do.
    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let Ok(state) = data(this).state(py) else {
            return;
        };
        if state.phase.get() == Phase::Closed {
            return;
        }
        let warned = warnings::unclosed(this.as_any());
        state.phase.set(Phase::Closed);
        drop(state.registration.take());
        if let Ok(local) = data(this).core.get().local(py) {
            local.release(state.fd);
        }
        if let Err(error) = warned.and(state.descriptor.close(py)) {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        methods::repr(this)
    }
}
