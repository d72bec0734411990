//! The transport of a connected stream socket: its state, birth and end.
//!
//! Receiving is in `read`, sending in `write`, what Python calls in `methods`.

pub(crate) mod methods;
pub(crate) mod read;
pub(crate) mod write;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::driver::{Direction, Registration};
use crate::ffi::context::{copy_current, given_or_current, run_in};
use crate::ffi::{
    Class, Entered, Members, NativeClass, OwnerCell, Visitor, call, data, make, name, new_instance,
};
use crate::scheduler::watchers::wake;
use crate::scheduler::{Core, Deferred, Local, READ, Source, Visit, WRITE, is_exit};
use crate::sys::socket;
use crate::transports::clients;
use crate::transports::descriptor::{Descriptor, SocketKind, fileno};
use crate::transports::extra_info::ExtraInfo;
use crate::transports::flow_control::FlowControl;
use crate::transports::protocol::{self, Delivery, callback_failed, step_failed};
use crate::transports::warnings;
use crate::transports::write_buffer::WriteBuffer;
pub(crate) use crate::transports::write_buffer::Writing;

/// `SocketTransport`: an `asyncio.Transport` over a connected stream socket.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) core: Py<Core>,
    /// What the protocol's methods run in.
    context: Py<PyAny>,
    /// `connection_lost` runs in it, too: not in that of what ended the connection.
    is_context_given: bool,
    state: OwnerCell<State>,
}

/// What belongs to the loop's thread. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) fd: RawFd,
    // Dropped in this order: off the reactor first, then closed.
    pub(crate) registration: RefCell<Option<Registration>>,
    pub(crate) descriptor: Descriptor,
    pub(crate) extra: ExtraInfo,
    pub(crate) protocol: RefCell<Option<Py<PyAny>>>,
    pub(crate) delivery: Cell<Delivery>,
    server: RefCell<Option<Py<PyAny>>>,
    pub(crate) phase: Cell<Phase>,
    pub(crate) reading: Cell<Reading>,
    pub(crate) writing: Cell<Writing>,
    /// The reactor watches for room to write. For a Unix socket it does not before the first time that there
    /// was none: each read of the peer's would wake the loop.
    pub(crate) watches_room: Cell<bool>,
    pub(crate) buffer: RefCell<WriteBuffer<PyBackedBytes>>,
    pub(crate) flow: Cell<FlowControl>,
    /// `(low, high)` as `set_write_buffer_limits` was given them.
    pub(crate) marks: RefCell<Option<Py<PyAny>>>,
    /// The callback that wrote last, by the loop's count; 0 when the program has looked since.
    pub(crate) wrote_in: Cell<u64>,
    /// What a callback writes is gathered; for so many more that write once.
    pub(crate) gathering: Cell<u8>,
    /// The last read was large: the next one goes straight into the object.
    pub(crate) large_reads: Cell<bool>,
    /// Where a read may end before all was read.
    pub(crate) stops: socket::Stops,
    /// The last read may have ended so.
    pub(crate) cut_short: Cell<bool>,
    /// `write_eof()` was called.
    pub(crate) end_of_writing: Cell<bool>,
    /// Writes since the connection was lost, plus one, as asyncio counts them.
    pub(crate) conn_lost: Cell<usize>,
    /// What `connection_lost` runs in.
    lost_in: RefCell<Option<Py<PyAny>>>,
    /// What `sendfile` waits for: an empty buffer.
    pub(crate) empty_waiter: RefCell<Option<Py<PyAny>>>,
    /// The loop's table holds this transport.
    attached: Cell<bool>,
}

/// How far a transport's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// `close()` was called or the connection broke; `connection_lost` is to come.
    Closing,
    /// `connection_lost` was called, the descriptor is closed.
    Closed,
}

/// Whether received bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// `connection_made` is still to come.
    Unborn,
    On,
    /// `pause_reading()`.
    Paused,
    /// End of stream, or closing.
    Ended,
}

/// Where a protocol's methods run.
pub(crate) struct Room<'py> {
    pub(crate) context: Bound<'py, PyAny>,
    /// Given with the socket, as asyncio does from Python 3.15 on: all of them run in it.
    pub(crate) is_given: bool,
}

/// A transport over a Python socket, which the transport will close.
pub(crate) fn from_socket<'py>(
    core: &Bound<'py, Core>,
    sock: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyAny>>,
    server: Option<&Bound<'py, PyAny>>,
    context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = core.py();
    let fd = fileno(sock)?;
    let family: i32 = sock.getattr(name!(py, "family"))?.extract()?;
    let number: i32 = sock.getattr(name!(py, "proto"))?.extract()?;
    let parts = Parts {
        fd,
        is_tcp: socket::INTERNET_FAMILIES.contains(&family),
        stops: socket::Stops::of(family, number),
        descriptor: Descriptor::from_socket(sock),
        extra: ExtraInfo::from_socket(sock, extra)?,
    };
    let room = Room {
        context: given_or_current(py, context)?,
        is_given: context.is_some(),
    };
    Ok(start(core, parts, room, protocol, waiter, server)?.into_any())
}

/// A transport over a connection that was just accepted; its protocol runs in `room`.
pub(crate) fn from_accepted(
    core: &Bound<'_, Core>,
    accepted: (OwnedFd, socket::Name),
    kind: SocketKind,
    room: Room<'_>,
    protocol: &Bound<'_, PyAny>,
    server: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let (fd, peer) = accepted;
    let raw = fd.as_raw_fd();
    let parts = Parts {
        fd: raw,
        is_tcp: socket::INTERNET_FAMILIES.contains(&kind.family),
        stops: socket::Stops::of(kind.family, kind.protocol),
        // Ignored where it fails, as in asyncio: the address is then unknown.
        extra: ExtraInfo::from_names(socket::local_name(raw).ok(), Some(peer)),
        descriptor: Descriptor::from_fd(fd, kind),
    };
    start(core, parts, room, protocol, None, server).map(drop)
}

struct Parts {
    fd: RawFd,
    is_tcp: bool,
    stops: socket::Stops,
    descriptor: Descriptor,
    extra: ExtraInfo,
}

/// Makes the transport and has `connection_made` called in the next pass, then reading begin, then `waiter` done.
fn start<'py>(
    core: &Bound<'py, Core>,
    parts: Parts,
    room: Room<'py>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    server: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, Stream>> {
    let py = core.py();
    core.get().check_closed()?;
    let delivery = protocol::delivery(protocol)?;
    protocol::check(protocol)?;
    if parts.is_tcp {
        // Ignored: a connection that is gone already will say so when it is read.
        let _ = socket::set_nodelay(parts.fd);
    }
    let local = core.get().local(py)?;
    let direction = if parts.is_tcp {
        Direction::Both
    } else {
        Direction::Read
    };
    let registration = local.register(parts.fd, direction)?;
    let state = State {
        fd: parts.fd,
        registration: RefCell::new(Some(registration)),
        descriptor: parts.descriptor,
        extra: parts.extra,
        protocol: RefCell::new(Some(protocol.clone().unbind())),
        delivery: Cell::new(delivery),
        server: RefCell::new(server.map(|server| server.clone().unbind())),
        phase: Cell::new(Phase::Open),
        reading: Cell::new(Reading::Unborn),
        writing: Cell::new(Writing::Idle),
        watches_room: Cell::new(direction == Direction::Both),
        buffer: RefCell::new(WriteBuffer::new()),
        flow: Cell::new(FlowControl::new()),
        marks: RefCell::new(None),
        wrote_in: Cell::new(0),
        gathering: Cell::new(if local.gathers() { write::PATIENCE } else { 0 }),
        large_reads: Cell::new(false),
        stops: parts.stops,
        cut_short: Cell::new(false),
        end_of_writing: Cell::new(false),
        conn_lost: Cell::new(0),
        lost_in: RefCell::new(None),
        empty_waiter: RefCell::new(None),
        attached: Cell::new(false),
    };
    let stream = Stream {
        core: core.clone().unbind(),
        context: room.context.unbind(),
        is_context_given: room.is_given,
        state: OwnerCell::new(state),
    };
    let this = new_instance(py, stream)?;
    local.claim(parts.fd);
    if let Some(server) = server {
        clients::attach(server, this.as_any())?;
    }
    local.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: waiter.map(|waiter| waiter.clone().unbind()),
        run: born,
    });
    Ok(this)
}

/// Calls `connection_made`, begins to read, completes the waiter.
fn born(this: &Bound<'_, PyAny>, waiter: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = methods::cast(this)?;
    let py = this.py();
    let stream = data(this);
    let state = stream.state(py)?;
    let made = match state.protocol(py) {
        Some(protocol) => {
            let name = name!(py, "connection_made");
            run_in(stream.context.bind(py), |_| {
                let called = call::method(&protocol, name, [this.as_any()]);
                called.map(drop).or_else(|error| {
                    let (core, this) = (stream.core.bind(py), this.as_any());
                    callback_failed(core, this, &protocol, name, &[this], error)
                })
            })
        }
        None => Ok(()),
    };
    // What ends the run does not keep the connection from beginning: the next run finds it alive.
    let mut begun = Ok(());
    if state.reading.get() == Reading::Unborn {
        state.reading.set(Reading::On);
        begun = update_interest(this, &state);
        if let Some(registration) = &*state.registration.borrow()
            && registration.arm_read()
        {
            registration.fire_read();
        }
    }
    let woken = waiter.map_or(Ok(()), |waiter| wake_waiter(&waiter));
    made.and(begun).and(woken)
}

/// Completes the future of who waits for the transport, unless it was cancelled.
pub(crate) fn wake_waiter(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = waiter.py();
    if !waiter.call_method0(name!(py, "cancelled"))?.is_truthy()? {
        waiter.call_method1(name!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
}

impl Stream {
    /// The state; an error when it is at work on another thread.
    #[inline]
    pub(crate) fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, State>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl State {
    pub(crate) fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol
            .borrow()
            .as_ref()
            .map(|protocol| protocol.bind(py).clone())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delivery.set(protocol::delivery(protocol)?);
        let before = self.protocol.replace(Some(protocol.clone().unbind()));
        drop(before);
        Ok(())
    }
}

/// Keeps the loop's table right: it holds the transport while bytes are awaited in either direction,
/// as asyncio's selector does; a paused one that nobody refers to any more may be collected.
pub(crate) fn update_interest(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let wanted = state.reading.get() == Reading::On || state.writing.get() == Writing::Blocked;
    if wanted == state.attached.get() {
        return Ok(());
    }
    let py = this.py();
    let local = data(this).core.get().local(py)?;
    state.attached.set(wanted);
    let registration = state.registration.borrow();
    if let Some(registration) = &*registration {
        if wanted {
            let source = StreamSource {
                fd: state.fd,
                transport: this.clone().unbind(),
            };
            local.attach(registration, Arc::new(source));
        } else {
            local.detach(registration);
        }
    }
    Ok(())
}

/// The beginning of the end: no more reading, and no claim on the descriptor.
pub(crate) fn begin_closing(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    state.phase.set(Phase::Closing);
    state.reading.set(Reading::Ended);
    data(this).core.get().local(this.py())?.release(state.fd);
    update_interest(this, state)
}

/// Has `connection_lost` called in a later pass.
pub(crate) fn lose_later(
    this: &Bound<'_, Stream>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.conn_lost.set(state.conn_lost.get() + 1);
    if !data(this).is_context_given {
        // As asyncio's `call_soon` would: what ended the connection gives the context.
        let before = state
            .lost_in
            .replace(Some(copy_current(this.py())?.unbind()));
        drop(before);
    }
    data(this).core.get().local(this.py())?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: error.map(Bound::unbind),
        run: lost,
    });
    Ok(())
}

/// Ends the connection because of an error, reported under `message` unless it is the network's doing.
pub(crate) fn fail(this: &Bound<'_, Stream>, message: &str, error: PyErr) -> PyResult<()> {
    let py = this.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let stream = data(this);
    let state = stream.state(py)?;
    let (protocol, core) = (state.protocol(py), stream.core.bind(py));
    let error = protocol::traced(core, error);
    let told = protocol::report_fatal(
        core,
        message,
        error.clone_ref(py),
        this.as_any(),
        protocol.as_ref(),
    );
    let closed = force_close(this, Some(error.into_value(py).into_bound(py).into_any()));
    told.and(closed)
}

/// Ends the connection without sending what is buffered.
pub(crate) fn force_close(
    this: &Bound<'_, Stream>,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let state = data(this).state(this.py())?;
    if state.conn_lost.get() > 0 {
        return Ok(());
    }
    state.buffer.borrow_mut().clear();
    state.writing.set(Writing::Idle);
    if state.is_open() {
        begin_closing(this, &state)?;
    }
    update_interest(this, &state)?;
    lose_later(this, &state, error)
}

/// Calls `connection_lost`, then lets go of everything.
fn lost(this: &Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = methods::cast(this)?;
    let py = this.py();
    let stream = data(this);
    let state = stream.state(py)?;
    if state.phase.replace(Phase::Closed) == Phase::Closed {
        return Ok(());
    }
    let error = error.unwrap_or_else(|| py.None().into_bound(py));
    let context = state
        .lost_in
        .take()
        .unwrap_or_else(|| stream.context.clone_ref(py));
    let core = stream.core.bind(py);
    let protocol = state.protocol(py);
    let told = match &protocol {
        None => Ok(()),
        Some(protocol) => run_in(context.bind(py), |_| {
            let name = name!(py, "connection_lost");
            let told = call::method(protocol, name, [&error]).map(drop);
            told.or_else(|raised| {
                callback_failed(core, this.as_any(), protocol, name, &[&error], raised)
            })
        }),
    };
    let closed = let_go(this, &state).or_else(|error| {
        let step = "_call_connection_lost";
        step_failed(core, this.as_any(), protocol.as_ref(), step, error)
    });
    told.and(closed)
}

/// All of it, whatever fails: the first error is answered.
fn let_go(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let py = this.py();
    state.writing.set(Writing::Idle);
    state.reading.set(Reading::Ended);
    let mut result = update_interest(this, state);
    let registration = state.registration.take();
    drop(registration);
    result = result.and(state.descriptor.close(py));
    if state.empty_waiter.borrow().is_some() {
        let failed = write::fail_waiter(this, state, &PyConnectionError::new_err(LOST));
        // Who sends a file waits on the descriptor, which nobody will be told of any more.
        let woken = wake(data(this).core.bind(py), state.fd);
        result = result.and(failed).and(woken);
    }
    let (protocol, server) = (state.protocol.take(), state.server.take());
    drop(protocol);
    if let Some(server) = server {
        result = result.and(clients::detach(server.bind(py), this.as_any()));
    }
    result
}

/// asyncio's word for a `sendfile()` that waited for its turn.
const LOST: &str = "Connection is closed by peer";

/// A transport in the loop's table.
struct StreamSource {
    fd: RawFd,
    transport: Py<Stream>,
}

impl Source for StreamSource {
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        let py = core.py();
        let this = self.transport.bind(py);
        let stream = data(this);
        let state = stream.state(py)?;
        run_in(stream.context.bind(py), |_| {
            if ready & READ != 0
                && let Err(error) = read::on_readable(this, &state)
            {
                // The run ends here, and the next one goes on: the reactor would not tell again.
                if let Some(registration) = &*state.registration.borrow() {
                    registration.slot().fire(READ | ready & WRITE);
                }
                return Err(error);
            }
            if ready & WRITE != 0 && state.writing.get() == Writing::Blocked {
                write::on_writable(this, &state)?;
            }
            Ok(())
        })
    }

    fn on_failed(&self, core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
        let this = self.transport.bind(core.py());
        let context = data(this).context.bind(core.py());
        run_in(context, |_| fail(this, "Fatal error on transport", error))
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

impl NativeClass for Stream {
    const NAME: &'static CStr = c"yamanote._yamanote.SocketTransport";
    const DOC: &'static CStr = c"A transport over a connected stream socket.";
    const HAS_DICT: bool = true; // As asyncio's have.

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        // A `Transport`, and what asyncio's fallback of `sendfile()` asks for.
        static BASE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        make::imported(&BASE, py, "asyncio.transports", "_FlowControlMixin").cloned()
    }

    fn members() -> Members {
        methods::members()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let state = self.state.while_stopped();
        visitor.object(&self.core);
        visitor.object(&self.context);
        for cell in [
            &state.protocol,
            &state.server,
            &state.empty_waiter,
            &state.lost_in,
            &state.marks,
        ] {
            if let Ok(object) = cell.try_borrow() {
                visitor.option(object.as_ref());
            }
        }
        let mut visit = |object: &Py<PyAny>| visitor.object(object);
        state.extra.objects(&mut visit);
        state.descriptor.object(&mut visit);
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        let gone = (
            state.protocol.take(),
            state.server.take(),
            state.empty_waiter.take(),
        );
        drop(gone);
    }

    /// Nobody can close it any more: says so and closes the socket, as asyncio's transports do.
    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let stream = data(this);
        let Ok(state) = stream.state(py) else { return };
        if state.phase.get() == Phase::Closed {
            return;
        }
        let warned = warnings::unclosed(this.as_any());
        state.phase.set(Phase::Closed);
        let registration = state.registration.take();
        drop(registration);
        if let Ok(local) = stream.core.get().local(py) {
            local.release(state.fd);
        }
        let closed = state.descriptor.close(py);
        let server = state.server.take();
        let detached = server.map_or(Ok(()), |server| {
            clients::detach(server.bind(py), this.as_any())
        });
        if let Err(error) = warned.and(closed).and(detached) {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        methods::repr(this)
    }
}
