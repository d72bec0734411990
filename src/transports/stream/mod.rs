//! The transport of a connected stream socket: construction, events and closing.
//!
//! Receiving is in `read`, sending in `write`, the Python methods in `methods`.

pub(crate) mod ending;
pub(crate) mod faulty;
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
use crate::ffi::context::given_or_current;
use crate::ffi::{Class, Members, NativeClass, Visitor, data, make, name, new_instance};
use crate::scheduler::{Core, READ, WRITE};
use crate::sys::socket;
use crate::transports::clients;
use crate::transports::descriptor::{Descriptor, SocketKind, fileno};
use crate::transports::extra_info::ExtraInfo;
use crate::transports::frame::Frame;
use crate::transports::lifecycle::{self, Life, Reading, Transport, update_interest};
use crate::transports::protocol;
pub(crate) use state::{Room, Stream};
use state::{State, Writing};

/// Creates a transport over a Python socket and takes ownership of it.
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
    let server = server.map(clients::membership).transpose()?;
    Ok(start(core, parts, room, protocol, waiter, server.as_ref())?.into_any())
}

/// Creates a transport over a connection, accepted or opened, with its peer's address; its protocol runs in `room`.
/// `server` is what [`clients::enlist`] returned for its server.
pub(crate) fn from_fd<'py>(
    core: &Bound<'py, Core>,
    connected: (OwnedFd, Option<socket::Name>),
    kind: SocketKind,
    room: Room<'py>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    server: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (fd, peer) = connected;
    let raw = fd.as_raw_fd();
    let parts = Parts {
        fd: raw,
        is_tcp: socket::INTERNET_FAMILIES.contains(&kind.family),
        stops: socket::Stops::of(kind.family, kind.protocol),
        // Errors are ignored, as in asyncio: the address is then unknown.
        extra: ExtraInfo::from_names(socket::local_name(raw).ok(), peer),
        descriptor: Descriptor::from_fd(fd, kind),
    };
    Ok(start(core, parts, room, protocol, waiter, server)?.into_any())
}

struct Parts {
    fd: RawFd,
    is_tcp: bool,
    stops: socket::Stops,
    descriptor: Descriptor,
    extra: ExtraInfo,
}

/// Creates the transport and schedules for the next pass: call `connection_made`, start to read, complete `waiter`.
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
        // Ignored: a read will report that the connection is gone.
        let _ = socket::set_nodelay(parts.fd);
    }
    let local = core.get().local(py)?;
    let direction = if parts.is_tcp {
        Direction::Both
    } else {
        Direction::Read
    };
    let registration = local.register(parts.fd, direction)?;
    let gathering = if local.gathers() { write::PATIENCE } else { 0 };
    let state = State {
        server: RefCell::new(server.map(|server| server.clone().unbind())),
        watches_room: Cell::new(direction == Direction::Both),
        gathering: Cell::new(gathering),
        ..State::new(
            Life::new(core.get(), parts.fd, Some(registration), protocol),
            parts.descriptor,
            parts.extra,
            delivery,
            parts.stops,
        )
    };
    state.life.keeps_context.set(room.is_given);
    if let Some(admission) = local.limiting.take_admitted() {
        lifecycle::accepted(core, &local, &state.life, admission)?;
    }
    let this = new_instance(py, Stream(Frame::new(core, room.context, state)))?;
    if let Some(server) = server {
        clients::attach(server, this.as_any()).inspect_err(|_| never_begun(&this))?;
    }
    lifecycle::start(&this, &local, parts.fd, waiter);
    Ok(this)
}

/// The server refused the connection, as a closed one does: the transport ends before its life begins, and without any
/// call. A socket object stays the caller's.
#[cold]
fn never_begun(this: &Bound<'_, Stream>) {
    if let Ok(state) = data(this).state(this.py()) {
        lifecycle::never_begun(&state.life);
        drop(state.server.take());
    }
}

impl Transport for Stream {
    type State = State;

    const FATAL: &'static str = "Fatal error on transport";

    fn frame(&self) -> &Frame<State> {
        &self.0
    }

    fn life(state: &State) -> &Life {
        &state.life
    }

    fn is_waiting(state: &State) -> bool {
        state.reading.get() == Reading::On
            || state.writing.get() == Writing::Blocked
            || state.flow.is_strained()
            || Self::sends_file(state)
    }

    fn reads(state: &State) -> bool {
        state.reading.get() == Reading::On
    }

    fn sends_file(state: &State) -> bool {
        state.empty_waiter.borrow().is_some()
    }

    fn begin(this: &Bound<'_, Self>, state: &State) -> PyResult<()> {
        if state.reading.get() != Reading::Unborn {
            return Ok(());
        }
        state.reading.set(Reading::On);
        let begun = update_interest(this, state);
        state.life.arm_read();
        begun
    }

    #[inline]
    fn on_ready(this: &Bound<'_, Self>, state: &State, ready: u8) -> PyResult<()> {
        if ready & READ != 0 {
            read::on_readable(this, state)?;
        }
        if ready & WRITE != 0 && state.writing.get() == Writing::Blocked {
            flush::flush(this, state)?;
        }
        Ok(())
    }

    fn meet_faults(this: &Bound<'_, Self>, state: &State, ready: u8) -> PyResult<u8> {
        faulty::meet(this, state, ready)
    }

    fn faults_met(state: &State) {
        faulty::read_on(state);
    }

    fn force_close(
        this: &Bound<'_, Self>,
        state: &State,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        ending::force_close(this, state, error)
    }

    fn press(this: &Bound<'_, Self>, state: &State, has_risen: bool) -> PyResult<()> {
        let pressed = if has_risen {
            state.flow.strain(this, &state.life)
        } else {
            let size = state.buffer.borrow().len();
            state.flow.relieve(this, &state.life, size)
        };
        pressed.and(update_interest(this, state))
    }

    fn close_descriptor(py: Python<'_>, state: &State) -> PyResult<()> {
        state.descriptor.close(py)
    }

    fn closed(this: &Bound<'_, Self>, state: &State) -> PyResult<()> {
        let result = ending::fail_sendfile(this, state);
        match state.server.take() {
            Some(server) => result.and(clients::detach(server.bind(this.py()), this.as_any())),
            None => result,
        }
    }
}

impl NativeClass for Stream {
    const NAME: &'static CStr = c"yamanote._yamanote.SocketTransport";
    const DOC: &'static CStr = c"A transport over a connected stream socket.";
    const HAS_DICT: bool = true; // As asyncio's transports have.

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        // A `Transport`, and the class that asyncio's fallback of `sendfile()` requires.
        static BASE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        make::imported(&BASE, py, "asyncio.transports", "_FlowControlMixin").cloned()
    }

    fn members() -> Members {
        methods::members()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let state = self.0.traverse(visitor);
        state.life.traverse(visitor);
        state.flow.traverse(visitor);
        for cell in [&state.server, &state.empty_waiter] {
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
            state.life.protocol.take(),
            state.server.take(),
            state.empty_waiter.take(),
        );
        drop(gone);
    }

    fn finalize(this: &Bound<'_, Self>) {
        lifecycle::finalize(this);
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        methods::repr(this)
    }
}
