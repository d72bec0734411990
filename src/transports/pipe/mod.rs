//! Transports over one end of a pipe, FIFO, socket or terminal: what both kinds share.
//!
//! A [`Side`] reads (`read`) or writes (`write`). The file object is the caller's until the
//! transport is made, and closed by the transport at its end.

pub(crate) mod methods;
pub(crate) mod read;
pub(crate) mod write;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use pyo3::exceptions::{PyFileExistsError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use crate::driver::{Direction, Registration};
use crate::errors::os_error;
use crate::ffi::context::{copy_current, run_in};
use crate::ffi::{
    Class, Entered, Members, NativeClass, OwnerCell, Visitor, call, data, downcast, make, name,
    new_instance,
};
use crate::scheduler::{Core, Deferred, Local, READ, Source, Visit, WRITE, is_exit};
use crate::sys::pipe;
pub(crate) use crate::sys::pipe::Kind;
use crate::sys::poller::REFUSES_WATCHED;
use crate::transports::descriptor::fileno;
use crate::transports::protocol::{self, Delivery, callback_failed, step_failed};
use crate::transports::stream::{Phase, wake_waiter};
use crate::transports::warnings;

/// A transport over one end of a pipe.
#[derive(Debug)]
pub(crate) struct Pipe<S> {
    pub(crate) core: Py<Core>,
    /// What the protocol's methods run in.
    context: Py<PyAny>,
    state: OwnerCell<State<S>>,
}

/// What belongs to the loop's thread. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State<S> {
    pub(crate) fd: RawFd,
    pub(crate) kind: Kind,
    // Dropped in this order: off the reactor first, then closed.
    pub(crate) registration: RefCell<Option<Registration>>,
    /// Stands for `fd` on the reactor where another transport has put `fd` there.
    twin: RefCell<Option<OwnedFd>>,
    /// The file object; `None` once it is closed.
    pipe: RefCell<Option<Py<PyAny>>>,
    extra: Py<PyDict>,
    protocol: RefCell<Option<Py<PyAny>>>,
    pub(crate) delivery: Cell<Delivery>,
    pub(crate) phase: Cell<Phase>,
    /// `connection_lost` is scheduled.
    losing: Cell<bool>,
    /// What `connection_lost` runs in.
    lost_in: RefCell<Option<Py<PyAny>>>,
    /// The loop's table holds this transport.
    attached: Cell<bool>,
    pub(crate) side: S,
}

/// What tells the two kinds apart.
pub(crate) trait Side: Send + Sized + 'static {
    const NAME: &'static CStr;
    const DOC: &'static CStr;
    /// asyncio's class of such transports.
    const BASE: &'static str;
    /// asyncio's words for a file that is never waited for.
    const REFUSED: &'static str;
    /// Whether it is the end that writes.
    const WRITES: bool;

    fn new() -> Self;

    fn class() -> &'static Class;

    fn members() -> Members;

    /// Whether events are awaited, so that the loop keeps the transport alive.
    fn is_waiting(state: &State<Self>) -> bool;

    /// `connection_made` was called: begins to wait for events.
    fn begin(this: &Bound<'_, Pipe<Self>>, state: &State<Self>) -> PyResult<()>;

    /// Runs in the transport's context.
    fn on_ready(this: &Bound<'_, Pipe<Self>>, state: &State<Self>, ready: u8) -> PyResult<()>;

    /// What `repr` says of an open one: the state of its polling, and what waits.
    fn describe(state: &State<Self>) -> String;

    /// Shows the collector what the side itself holds.
    fn traverse(&self, _visitor: &mut Visitor) {}
}

/// A transport over a file object of Python's; `waiter` is completed once `connection_made` was called.
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
        fd,
        kind,
        registration: RefCell::new(None),
        twin: RefCell::new(None),
        pipe: RefCell::new(Some(file.clone().unbind())),
        extra: extra.unbind(),
        protocol: RefCell::new(Some(protocol.clone().unbind())),
        delivery: Cell::new(protocol::delivery(protocol)?),
        phase: Cell::new(Phase::Open),
        losing: Cell::new(false),
        lost_in: RefCell::new(None),
        attached: Cell::new(false),
        side: S::new(),
    };
    let this = Pipe {
        core: core.clone().unbind(),
        context: copy_current(py)?.unbind(),
        state: OwnerCell::new(state),
    };
    let this = new_instance(py, this)?;
    core.get().local(py)?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: waiter.map(|waiter| waiter.clone().unbind()),
        run: born::<S>,
    });
    Ok(this.into_any())
}

pub(crate) fn cast<'a, 'py, S: Side>(
    object: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, Pipe<S>>> {
    downcast(object).ok_or_else(|| PyTypeError::new_err("a pipe transport is required"))
}

/// Calls `connection_made`, begins to wait for events, completes the waiter.
fn born<S: Side>(this: &Bound<'_, PyAny>, waiter: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = cast::<S>(this)?;
    let py = this.py();
    let pipe = data(this);
    let state = pipe.state(py)?;
    let made = call_protocol(
        this,
        &state,
        &pipe.context,
        name!(py, "connection_made"),
        [this.as_any()],
    );
    let mut begun = Ok(());
    if state.is_open() {
        begun = S::begin(this, &state);
        begun = begun.or_else(|error| report(this, &state, "_add_reader", error));
    }
    let woken = waiter.map_or(Ok(()), |waiter| wake_waiter(&waiter));
    made.and(begun).and(woken)
}

/// Calls a protocol method in `context`. One that raises is reported, and the transport lives: asyncio has
/// them called by handles.
pub(crate) fn call_protocol<S: Side, const N: usize>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    context: &Py<PyAny>,
    method: &Bound<'_, PyString>,
    arguments: [&Bound<'_, PyAny>; N],
) -> PyResult<()> {
    let py = this.py();
    let Some(protocol) = state.protocol(py) else {
        return Ok(());
    };
    run_in(context.bind(py), |_| {
        let called = call::method(&protocol, method, arguments);
        called.map(drop).or_else(|error| {
            callback_failed(
                data(this).core.bind(py),
                this.as_any(),
                &protocol,
                method,
                &arguments,
                error,
            )
        })
    })
}

/// Something that asyncio has called by a handle failed in the transport itself.
pub(crate) fn report<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    step: &str,
    error: PyErr,
) -> PyResult<()> {
    let py = this.py();
    let core = data(this).core.bind(py);
    let protocol = state.protocol(py);
    step_failed(core, this.as_any(), protocol.as_ref(), step, error)
}

impl<S> Pipe<S> {
    /// The state; an error when it is at work on another thread.
    #[inline]
    pub(crate) fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, State<S>>>
    where
        S: Send,
    {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl<S> State<S> {
    pub(crate) fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }

    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delivery.set(protocol::delivery(protocol)?);
        let before = self.protocol.replace(Some(protocol.clone().unbind()));
        drop(before);
        Ok(())
    }

    pub(crate) fn pipe<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let pipe = self.pipe.borrow();
        pipe.as_ref().map(|pipe| pipe.bind(py).clone())
    }

    /// With `None` the transport no longer has a file to close.
    pub(crate) fn set_pipe(&self, pipe: Option<Bound<'_, PyAny>>) {
        let before = self.pipe.replace(pipe.map(Bound::unbind));
        drop(before);
    }

    pub(crate) fn extra<'py>(&self, py: Python<'py>) -> &Bound<'py, PyDict> {
        self.extra.bind(py)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// `connection_lost` was called or will be: nothing is read or written any more.
    pub(crate) fn is_losing(&self) -> bool {
        self.losing.get()
    }
}

/// Puts the descriptor on the reactor. Its events begin with the next [`update_interest`].
pub(crate) fn register<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    direction: Direction,
) -> PyResult<()> {
    let py = this.py();
    let local = data(this).core.get().local(py)?;
    // Another transport may have it: one reads and one writes, as it is done with a terminal.
    let registration = if S::WRITES && !REFUSES_WATCHED {
        register_twin(&local, state, direction)?
    } else {
        match local.register(state.fd, direction) {
            // (Before 3.12 only the object knows which kind of `OSError` it has become.)
            Err(error) if error.value(py).is_instance_of::<PyFileExistsError>() => {
                register_twin(&local, state, direction)?
            }
            outcome => outcome?,
        }
    };
    state.registration.replace(Some(registration));
    Ok(())
}

/// Puts another number for the file on the reactor.
fn register_twin<S: Side>(
    local: &Local,
    state: &State<S>,
    direction: Direction,
) -> PyResult<Registration> {
    let twin = pipe::duplicate(state.fd).map_err(os_error)?;
    let registration = local.register(twin.as_raw_fd(), direction)?;
    state.twin.replace(Some(twin));
    Ok(registration)
}

/// Keeps the loop's table right: it holds the transport while events are awaited, as asyncio's selector does.
pub(crate) fn update_interest<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
) -> PyResult<()> {
    let registration = state.registration.borrow();
    let Some(registration) = &*registration else {
        return Ok(());
    };
    let wanted = !state.is_losing() && S::is_waiting(state);
    if wanted == state.attached.get() {
        return Ok(());
    }
    let local = data(this).core.get().local(this.py())?;
    state.attached.set(wanted);
    if wanted {
        let source = PipeSource(this.clone().unbind());
        local.attach(registration, Arc::new(source));
    } else {
        local.detach(registration);
    }
    Ok(())
}

/// Has `connection_lost` called in a later pass; nothing is read or written until then.
pub(crate) fn lose<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.phase.set(Phase::Closing);
    if state.losing.replace(true) {
        return Ok(());
    }
    let py = this.py();
    let core = data(this).core.get();
    update_interest(this, state)?;
    core.check_closed()?;
    // As asyncio's `call_soon` would: what ended the connection gives the context.
    let before = state.lost_in.replace(Some(copy_current(py)?.unbind()));
    drop(before);
    core.local(py)?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: error.map(Bound::unbind),
        run: lost::<S>,
    });
    Ok(())
}

/// Calls `connection_lost`, then lets go of everything.
fn lost<S: Side>(this: &Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = cast::<S>(this)?;
    let py = this.py();
    let pipe = data(this);
    let state = pipe.state(py)?;
    let error = error.unwrap_or_else(|| py.None().into_bound(py));
    let context = state.lost_in.take();
    let context = context.unwrap_or_else(|| pipe.context.clone_ref(py));
    let told = call_protocol(
        this,
        &state,
        &context,
        name!(py, "connection_lost"),
        [&error],
    );
    let closed = let_go(this, &state);
    told.and(closed.or_else(|error| report(this, &state, "_call_connection_lost", error)))
}

fn let_go<S: Side>(this: &Bound<'_, Pipe<S>>, state: &State<S>) -> PyResult<()> {
    let py = this.py();
    state.phase.set(Phase::Closed);
    let (registration, twin) = (state.registration.take(), state.twin.take());
    drop(registration);
    drop(twin);
    let (pipe, protocol) = (state.pipe.take(), state.protocol.take());
    drop(protocol);
    match pipe {
        Some(pipe) => pipe.call_method0(py, name!(py, "close")).map(drop),
        None => Ok(()),
    }
}

/// Reports an error of the file where asyncio does, and ends the connection with it.
pub(crate) fn fail<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    state: &State<S>,
    message: &str,
    error: PyErr,
    is_expected: bool,
) -> PyResult<()> {
    let py = this.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let core = data(this).core.bind(py);
    let error = protocol::traced(core, error);
    let (copy, protocol) = (error.clone_ref(py), state.protocol(py));
    let told = if is_expected {
        protocol::report_fatal(core, message, copy, this.as_any(), protocol.as_ref())
    } else {
        protocol::report(core, message, copy, this.as_any(), protocol.as_ref())
    };
    told.and(lose(
        this,
        state,
        Some(error.into_value(py).into_bound(py).into_any()),
    ))
}

/// What asyncio logs about a transport in debug mode.
pub(crate) fn log<S: Side>(
    this: &Bound<'_, Pipe<S>>,
    level: &'static str,
    text: &'static str,
) -> PyResult<()> {
    let py = this.py();
    if data(this).core.get().is_debug() {
        let logger = make::import(py, "asyncio.log", "logger")?;
        logger.call_method1(level, (text, this.as_any()))?;
    }
    Ok(())
}

/// A transport in the loop's table.
struct PipeSource<S>(Py<Pipe<S>>);

impl<S: Side> Source for PipeSource<S> {
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        let py = core.py();
        let this = self.0.bind(py);
        let pipe = data(this);
        let state = pipe.state(py)?;
        let result = run_in(pipe.context.bind(py), |_| S::on_ready(this, &state, ready));
        if result.is_err()
            && let Some(registration) = &*state.registration.borrow()
        {
            // The run ends here, and the next one goes on: the reactor would not tell again.
            registration.slot().fire(ready);
        }
        result
    }

    fn on_failed(&self, core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
        let this = self.0.bind(core.py());
        let state = data(this).state(core.py())?;
        let context = data(this).context.bind(core.py());
        run_in(context, |_| {
            fail(this, &state, "Fatal error on pipe transport", error, false)
        })
    }

    fn again(&self) -> u8 {
        // For the end that writes, something to read is the peer's end.
        if S::WRITES { WRITE } else { READ }
    }

    fn renew(&self, py: Python<'_>, local: &Local) {
        let state = data(self.0.bind(py)).state.inside();
        local.revive(state.registration.borrow().as_ref());
    }

    fn objects(&self, visit: Visit<'_>) {
        visit(self.0.as_any());
    }
}

impl<S: Side> NativeClass for Pipe<S> {
    const NAME: &'static CStr = S::NAME;
    const DOC: &'static CStr = S::DOC;
    const HAS_DICT: bool = true; // As asyncio's have.

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
        let state = self.state.while_stopped();
        visitor.object(&self.core);
        visitor.object(&self.context);
        visitor.object(&state.extra);
        state.side.traverse(visitor);
        for cell in [&state.pipe, &state.protocol, &state.lost_in] {
            if let Ok(object) = cell.try_borrow() {
                visitor.option(object.as_ref());
            }
        }
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        drop(state.protocol.take());
        state.extra.bind(py).clear();
    }

    /// Nobody can close it any more: says so and closes the file, as asyncio's transports do.
    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let Ok(state) = data(this).state(py) else {
            return;
        };
        if state.pipe.borrow().is_none() {
            return;
        }
        let warned = warnings::unclosed(this.as_any());
        let closed = let_go(this, &state);
        if let Err(error) = warned.and(closed) {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        let state = data(this).state(this.py())?;
        let has_pipe = state.pipe.borrow().is_some();
        let phase = match state.phase.get() {
            _ if !has_pipe => " closed",
            Phase::Open => "",
            Phase::Closing | Phase::Closed => " closing",
        };
        let rest = if !has_pipe {
            "closed".to_owned()
        } else if data(this).core.get().is_closed() {
            "open".to_owned()
        } else {
            S::describe(&state)
        };
        Ok(format!(
            "<{}{phase} fd={} {rest}>",
            short_name::<S>(),
            state.fd
        ))
    }
}

/// The class's name without the module in front.
fn short_name<S: Side>() -> &'static str {
    let name = S::NAME.to_str().unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name)
}
