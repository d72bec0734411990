//! The transport of a datagram socket: construction, events and closing.
//!
//! Receiving is in `read`, sending in `write`, the Python methods in `methods`.

mod methods;
mod peers;
mod queue;
mod read;
mod state;
mod write;

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::descriptor::{Descriptor, fileno};
use super::extra_info::ExtraInfo;
use super::frame::Frame;
use super::lifecycle::{self, Life, Reading, Transport, update_interest};
use super::protocol;
use super::write_buffer::Writing;
use crate::driver::Direction;
use crate::ffi::context::copy_current;
use crate::ffi::{Class, Members, NativeClass, Visitor, make, name, new_instance};
use crate::scheduler::{Core, READ, WRITE};
pub(crate) use state::Datagrams;
use state::{Kind, Sender, State, force_close, register};

/// Creates a transport over a Python socket and takes ownership of it. The next pass calls `connection_made`, then
/// starts receiving, then completes `waiter`.
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
    let life = Life::new(core.get(), fd, None, protocol);
    let state = State::new(life, Kind::of(sock)?, descriptor, extra, peer, address)?;
    let local = core.get().local(py)?;
    state
        .life
        .registration
        .replace(Some(local.register(fd, Direction::Read)?));
    let frame = Frame::new(core, copy_current(py)?, state);
    let this = new_instance(py, Datagrams(frame))?;
    lifecycle::start(&this, &local, fd, waiter);
    Ok(this.into_any())
}

impl Transport for Datagrams {
    type State = State;

    const FATAL: &'static str = "Fatal error on datagram transport";

    fn frame(&self) -> &Frame<State> {
        &self.0
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
        // If nothing waits to be sent, this event is a pending error, which a receive returns.
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
    const HAS_DICT: bool = true; // As asyncio's transports have.

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    /// asyncio's own class has both bases, because its streams do, and CPython's tests check for them.
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
        let state = self.0.traverse(visitor);
        visitor.option(state.address.as_ref());
        state.life.traverse(visitor);
        state.flow.traverse(visitor);
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
