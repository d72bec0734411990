//! The transport of a connected stream socket: its state, birth and end.
//!
//! Receiving is in `read`, sending in `write`, what Python calls in `methods`.

pub(crate) mod ending;
pub(crate) mod flush;
mod methods;
pub(crate) mod read;
pub(crate) mod state;
pub(crate) mod write;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::driver::Direction;
use crate::ffi::context::{given_or_current, run_in};
use crate::ffi::{
    Class, Members, NativeClass, OwnerCell, Visitor, call, data, make, name, new_instance,
};
use crate::scheduler::{Core, Deferred, Local, READ, Source, Visit, WRITE};
use crate::sys::socket;
use crate::transports::clients;
use crate::transports::descriptor::{Descriptor, SocketKind, fileno};
use crate::transports::extra_info::ExtraInfo;
use crate::transports::flow_control::FlowControl;
use crate::transports::protocol::{self, callback_failed};
use crate::transports::warnings;
use crate::transports::write_buffer::WriteBuffer;
use ending::fail;
pub(crate) use state::{Decoder, Phase, Reading, Room, Stream};
use state::{State, StreamSource, Writing, cast, update_interest};

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
        decoder: Cell::new(None),
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
    let this = cast(this)?;
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
                flush::on_writable(this, &state)?;
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
