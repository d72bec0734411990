//! Transports over one end of a pipe, FIFO, socket or terminal: the part that both kinds share.
//!
//! A [`Side`] reads (`read`) or writes (`write`). The file object belongs to the caller until the transport exists;
//! the transport closes it at its end.

pub(crate) mod methods;
pub(crate) mod read;
pub(crate) mod write;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use pyo3::exceptions::{PyFileExistsError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::driver::{Direction, Registration};
use crate::errors::os_error;
use crate::ffi::context::copy_current;
use crate::ffi::{Class, Members, NativeClass, Visitor, data, make, name, new_instance};
use crate::scheduler::{Core, Local, READ, WRITE};
use crate::sys::pipe;
pub(crate) use crate::sys::pipe::FileKind;
use crate::sys::poller::REFUSES_WATCHED;
use crate::transports::descriptor::fileno;
use crate::transports::frame::Frame;
use crate::transports::lifecycle::{
    self, Life, Phase, Transport, fail_aloud, lose_later, report_step, update_interest,
};
use crate::transports::protocol::{self, Delivery};

/// A transport over one end of a pipe.
#[derive(Debug)]
pub(crate) struct Pipe<S>(Frame<State<S>>);

/// State that only the loop's thread uses. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State<S> {
    // Fields are dropped in this order: deregistered first, then closed.
    pub(crate) life: Life,
    pub(crate) kind: FileKind,
    /// A duplicate of `fd`, registered in its place where another transport has registered `fd`.
    twin: RefCell<Option<OwnedFd>>,
    /// The file object; `None` once it is closed.
    pipe: RefCell<Option<Py<PyAny>>>,
    extra: Py<PyDict>,
    pub(crate) delivery: Cell<Delivery>,
    /// `connection_lost` is scheduled.
    losing: Cell<bool>,
    pub(crate) side: S,
}

/// What distinguishes the two kinds.
pub(crate) trait Side: Send + Sized + 'static {
    const NAME: &'static CStr;
    const DOC: &'static CStr;
    /// The name of asyncio's base class for such transports.
    const BASE: &'static str;
    /// asyncio's message for a file that cannot be polled.
    const REFUSED: &'static str;
    /// Whether this is the writing end.
    const WRITES: bool;

    fn new() -> Self;

    fn class() -> &'static Class;

    fn members() -> Members;

    /// Whether the transport waits for events, so that the loop must keep it alive.
    fn is_waiting(state: &State<Self>) -> bool;

    /// Called after `connection_made`: starts to wait for events.
    fn begin(this: &Bound<'_, Pipe<Self>>, state: &State<Self>) -> PyResult<()>;

    /// Handles events. Runs in the transport's context.
    fn on_ready(this: &Bound<'_, Pipe<Self>>, state: &State<Self>, ready: u8) -> PyResult<()>;

    /// The part of `repr` for an open transport: whether it polls, and what is buffered.
    fn describe(state: &State<Self>) -> String;

    /// Visits what the side itself holds for the garbage collector.
    fn traverse(&self, _visitor: &mut Visitor) {}
}

/// Creates a transport over a Python file object; `waiter` is completed after `connection_made` was called.
pub(crate) fn open<'py, S: Side>(
    core: &Bound<'py, Core>,
    file: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
    extra: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = core.py();
    let extra = match extra {
        Some(extra) => extra.cast::<PyDict>()?.clone(),
        None => make::dict(py)?,
    };
    extra.set_item(name!(py, "pipe"), file)?;
    let fd = fileno(file)?;
    let kind = pipe::kind(fd)
        .map_err(os_error)?
        .ok_or_else(|| PyValueError::new_err(S::REFUSED))?;
    pipe::set_nonblocking(fd).map_err(os_error)?;
    core.get().check_closed()?;
    protocol::check(protocol)?;
    let state = State {
        life: Life::new(core.get(), fd, None, protocol),
        kind,
        twin: RefCell::new(None),
        pipe: RefCell::new(Some(file.clone().unbind())),
        extra: extra.unbind(),
        delivery: Cell::new(protocol::delivery(protocol)?),
        losing: Cell::new(false),
        side: S::new(),
    };
    let frame = Frame::new(core, copy_current(py)?, state);
    let this = new_instance(py, Pipe(frame))?;
    let local = core.get().local(py)?;
    lifecycle::start(&this, &local, fd, waiter);
    Ok(this.into_any())
}

impl<S> State<S> {
    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delivery.set(protocol::delivery(protocol)?);
        self.life.set_protocol(protocol);
        Ok(())
    }

    pub(crate) fn pipe<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let pipe = self.pipe.borrow();
        pipe.as_ref().map(|pipe| pipe.bind(py).clone())
    }

    /// Replaces the file object; with `None` the transport no longer has a file to close.
    pub(crate) fn set_pipe(&self, pipe: Option<Bound<'_, PyAny>>) {
        let before = self.pipe.replace(pipe.map(Bound::unbind));
        drop(before);
    }

    pub(crate) fn extra<'py>(&self, py: Python<'py>) -> &Bound<'py, PyDict> {
        self.extra.bind(py)
    }

    /// `connection_lost` was called or is scheduled: the transport reads and writes no more.
    pub(crate) fn is_losing(&self) -> bool {
        self.losing.get()
    }
}

/// Registers the descriptor with the reactor. Its events begin with the next [`update_interest`].
pub(crate) fn register<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    direction: Direction,
) -> PyResult<()> {
    let py = this.py();
    let local = data(this).local(py)?;
    // Another transport may have registered it: for a terminal, one transport reads and another writes.
    let registration = if S::WRITES && !REFUSES_WATCHED {
        register_twin(&local, state, direction)?
    } else {
        match local.register(state.life.fd, direction) {
            // Before 3.12 the subclass of `OSError` is known only from the exception object.
            Err(error) if error.value(py).is_instance_of::<PyFileExistsError>() => {
                register_twin(&local, state, direction)?
            }
            outcome => outcome?,
        }
    };
    state.life.registration.replace(Some(registration));
    Ok(())
}

/// Registers a duplicate of the descriptor.
fn register_twin<S: Side>(
    local: &Local,
    state: &State<S>,
    direction: Direction,
) -> PyResult<Registration> {
    let twin = pipe::duplicate(state.life.fd).map_err(os_error)?;
    let registration = local.register(twin.as_raw_fd(), direction)?;
    state.twin.replace(Some(twin));
    Ok(registration)
}

/// Schedules `connection_lost` for a later pass; nothing is read or written until then.
pub(crate) fn lose<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.life.phase.set(Phase::Closing);
    if state.losing.replace(true) {
        return Ok(());
    }
    let core = data(this).core().get();
    update_interest(this, state)?;
    core.check_closed()?;
    lose_later(this, &state.life, error)
}

impl<S: Side> Transport for Pipe<S> {
    type State = State<S>;

    const FATAL: &'static str = "Fatal error on pipe transport";
    const CLAIMS: bool = false;
    // On the writing end, readability means that the peer closed.
    const AGAIN: u8 = if S::WRITES { WRITE } else { READ };

    fn frame(&self) -> &Frame<State<S>> {
        &self.0
    }

    fn life(state: &State<S>) -> &Life {
        &state.life
    }

    fn is_waiting(state: &State<S>) -> bool {
        !state.is_losing() && S::is_waiting(state)
    }

    fn begin(this: &Bound<'_, Self>, state: &State<S>) -> PyResult<()> {
        if !state.life.is_open() {
            return Ok(());
        }
        let begun = S::begin(this, state);
        begun.or_else(|error| report_step(this, &state.life, "_add_reader", error))
    }

    fn on_ready(this: &Bound<'_, Self>, state: &State<S>, ready: u8) -> PyResult<()> {
        S::on_ready(this, state, ready)
    }

    fn on_failed(this: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        fail_aloud(this, Self::FATAL, error)
    }

    fn force_close(
        this: &Bound<'_, Self>,
        state: &State<S>,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        lose(this, state, error)
    }

    // The program may have removed the file object.
    fn is_over(state: &State<S>) -> bool {
        state.pipe.borrow().is_none()
    }

    fn close_descriptor(py: Python<'_>, state: &State<S>) -> PyResult<()> {
        let (twin, pipe) = (state.twin.take(), state.pipe.take());
        drop(twin);
        match pipe {
            Some(pipe) => pipe.call_method0(py, name!(py, "close")).map(drop),
            None => Ok(()),
        }
    }
}

impl<S: Side> NativeClass for Pipe<S> {
    const NAME: &'static CStr = S::NAME;
    const DOC: &'static CStr = S::DOC;
    const HAS_DICT: bool = true; // As asyncio's transports have.

    fn class() -> &'static Class {
        S::class()
    }

    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        let class = make::import(py, "asyncio.transports", S::BASE)?;
        Ok(class.cast_into::<PyType>()?)
    }

    fn members() -> Members {
        S::members()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let state = self.0.traverse(visitor);
        visitor.object(&state.extra);
        state.side.traverse(visitor);
        state.life.traverse(visitor);
        if let Ok(pipe) = state.pipe.try_borrow() {
            visitor.option(pipe.as_ref());
        }
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        drop(state.life.protocol.take());
        state.extra.bind(py).clear();
    }

    fn finalize(this: &Bound<'_, Self>) {
        lifecycle::finalize(this);
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        let state = data(this).state(this.py())?;
        let has_pipe = state.pipe.borrow().is_some();
        let phase = match state.life.phase.get() {
            _ if !has_pipe => " closed",
            Phase::Open => "",
            Phase::Closing | Phase::Closed => " closing",
        };
        let rest = if !has_pipe {
            "closed".to_owned()
        } else if data(this).core().get().is_closed() {
            "open".to_owned()
        } else {
            S::describe(&state)
        };
        Ok(format!(
            "<{}{phase} fd={} {rest}>",
            short_name::<S>(),
            state.life.fd
        ))
    }
}

/// The class's name without its module.
fn short_name<S: Side>() -> &'static str {
    let name = S::NAME.to_str().unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name)
}
