//! The awaitables of `sock_recv` and the other `sock_*` methods: a call on a socket that the caller owns.
//!
//! A call begins when it is awaited, as a coroutine does. It is attempted at once; only if it would block, a future
//! is created, and the call is attempted again when the descriptor is ready. Data is received only when the awaiting
//! task can take it, so cancelling a waiting call loses no data.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::attempt::Operation;
use crate::ffi::{
    Class, Coroutine, Entered, Members, NativeClass, OwnerCell, Step, Visitor, attribute, data,
    future, make, members, name, new_instance,
};
use crate::scheduler::Core;
use crate::scheduler::futures::create_future;
use crate::scheduler::watchers::{Side, stop_waiting, wait};
use crate::transports::warnings;

/// A call on a socket that has not finished yet.
#[derive(Debug)]
pub(crate) struct SockCall {
    core: Py<Core>,
    /// asyncio's name for the method.
    name: &'static str,
    state: OwnerCell<State>,
}

/// State that only the loop's thread uses. No cell is borrowed while Python code can run.
#[derive(Debug)]
struct State {
    phase: Cell<Phase>,
    /// Taken out during an attempt; `None` once the call is done.
    operation: RefCell<Option<Operation>>,
    waiting: RefCell<Option<Waiting>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not awaited yet.
    Created,
    Running,
    Waiting,
    Done,
}

/// A wait for readiness.
#[derive(Debug)]
struct Waiting {
    fd: RawFd,
    side: Side,
    future: Py<PyAny>,
}

/// Creates a call, which begins when it is awaited.
pub(crate) fn new<'py>(
    core: &Bound<'py, Core>,
    name: &'static str,
    operation: Operation,
) -> PyResult<Bound<'py, PyAny>> {
    let state = State {
        phase: Cell::new(Phase::Created),
        operation: RefCell::new(Some(operation)),
        waiting: RefCell::new(None),
    };
    let this = SockCall {
        core: core.clone().unbind(),
        name,
        state: OwnerCell::new(state),
    };
    new_instance(core.py(), this).map(Bound::into_any)
}

impl SockCall {
    /// The state; an error while the call runs on another thread.
    fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, State>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl State {
    fn finish(&self) {
        self.phase.set(Phase::Done);
        let operation = self.operation.take();
        drop(operation);
    }

    /// Ends the wait, if any.
    fn stop_waiting(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        let Some(waiting) = self.waiting.take() else {
            return Ok(());
        };
        let future = waiting.future.bind(core.py());
        stop_waiting(core, waiting.fd, waiting.side, future)
    }
}

impl Coroutine for SockCall {
    fn has_begun(this: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(data(this).state(this.py())?.phase.get() != Phase::Created)
    }

    fn step<'py>(this: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let py = this.py();
        let call = data(this);
        let core = call.core.bind(py);
        let state = call.state(py)?;
        match state.phase.get() {
            Phase::Created => {}
            Phase::Waiting => woken(core, &state)?,
            Phase::Running => return Err(PyValueError::new_err("coroutine already executing")),
            Phase::Done => return Err(reused()),
        }
        let is_first = state.phase.replace(Phase::Running) == Phase::Created;
        let Some(operation) = state.operation.take() else {
            return Err(reused()); // The garbage collector cleared it.
        };
        let outcome = if is_first {
            operation.begin(core)
        } else {
            operation.attempt(core)
        };
        let waiting = match outcome {
            Ok(Some(value)) => {
                state.finish();
                return Ok(Step::Done(value));
            }
            Ok(None) => begin_waiting(core, &operation),
            Err(error) => Err(error),
        };
        match waiting {
            Ok(waiting) => {
                let future = waiting.future.bind(py).clone();
                state.waiting.replace(Some(waiting));
                state.operation.replace(Some(operation));
                state.phase.set(Phase::Waiting);
                Ok(Step::Wait(future))
            }
            Err(error) => {
                state.finish();
                Err(error)
            }
        }
    }

    fn throw<'py>(this: &Bound<'py, Self>, error: PyErr) -> PyResult<Step<'py>> {
        end(this)?;
        Err(error)
    }

    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        if data(this).state(this.py())?.phase.get() == Phase::Done {
            return Ok(());
        }
        end(this)
    }
}

fn end(this: &Bound<'_, SockCall>) -> PyResult<()> {
    let py = this.py();
    let call = data(this);
    let state = call.state(py)?;
    match state.phase.get() {
        Phase::Running => return Err(PyValueError::new_err("coroutine already executing")),
        Phase::Done => return Err(reused()),
        Phase::Created | Phase::Waiting => {}
    }
    state.finish();
    state.stop_waiting(call.core.bind(py))
}

/// The future of the wait is done: the loop completed it, or the program cancelled it.
fn woken(core: &Bound<'_, Core>, state: &State) -> PyResult<()> {
    let py = core.py();
    let future = state
        .waiting
        .borrow()
        .as_ref()
        .map(|waiting| waiting.future.clone_ref(py));
    let Some(future) = future else { return Ok(()) };
    let future = future.into_bound(py);
    let Err(error) = future::result(&future) else {
        let waiting = state.waiting.take();
        drop(waiting);
        return Ok(());
    };
    if !future.call_method0(name!(py, "done"))?.is_truthy()? {
        return Err(PyRuntimeError::new_err("await wasn't used with future"));
    }
    state.finish();
    state.stop_waiting(core)?;
    Err(error)
}

/// Registers a future that the loop completes when the descriptor is ready.
fn begin_waiting(core: &Bound<'_, Core>, operation: &Operation) -> PyResult<Waiting> {
    let py = core.py();
    let future = create_future(core)?;
    let fd = operation.fd(py)?;
    if core.get().local(py)?.claims.contains(fd) {
        core.call_method1(name!(py, "_ensure_fd_no_transport"), (fd,))?;
    }
    core.get().check_closed()?;
    if fd < 0 {
        return Err(PyValueError::new_err(format!(
            "Invalid file descriptor: {fd}"
        )));
    }
    let side = operation.side();
    wait(core, fd, side, &future)?;
    // As `Future.__await__` does, so that the task knows that the future was awaited and not yielded by mistake.
    future::set_blocking(&future)?;
    Ok(Waiting {
        fd,
        side,
        future: future.unbind(),
    })
}

fn reused() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

impl NativeClass for SockCall {
    const NAME: &'static CStr = c"yamanote._yamanote.SockCall";
    const DOC: &'static CStr = c"A call on a socket: a coroutine, made by `sock_recv` and its kin.";

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn members() -> Members {
        members!(Members::default()
            .coroutine::<Self>();
            attributes: Name, QualifiedName, Running, Suspended, CoroutineState, Frame, Awaited)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let state = self.state.while_stopped(visitor.stopped());
        visitor.object(&self.core);
        if let Ok(operation) = state.operation.try_borrow()
            && let Some(operation) = &*operation
        {
            operation.objects(&mut |object| visitor.object(object));
        }
        if let Ok(waiting) = state.waiting.try_borrow() {
            visitor.option(waiting.as_ref().map(|waiting| &waiting.future));
        }
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        let gone = (state.operation.take(), state.waiting.take());
        drop(gone);
    }

    /// The call can no longer be awaited: warns if it never was, and ends a pending wait.
    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let call = data(this);
        let Ok(state) = call.state(py) else { return };
        let result = match state.phase.get() {
            Phase::Created => warnings::never_awaited(this.as_any(), &qualified(this)),
            Phase::Waiting => state.stop_waiting(call.core.bind(py)),
            Phase::Running | Phase::Done => return,
        };
        state.phase.set(Phase::Done);
        if let Err(error) = result {
            error.write_unraisable(py, Some(this.as_any()));
        }
    }

    fn repr(this: &Bound<'_, Self>) -> PyResult<String> {
        let place = this.as_ptr();
        Ok(format!(
            "<coroutine object {} at {place:p}>",
            qualified(this)
        ))
    }
}

fn qualified(this: &Bound<'_, SockCall>) -> String {
    format!("Loop.{}", data(this).name)
}

type This = SockCall;

attribute!(Name, c"__name__", |this| {
    Ok(make::string(this.py(), data(this).name)?.into_any())
});

attribute!(QualifiedName, c"__qualname__", |this| {
    Ok(make::string(this.py(), &qualified(this))?.into_any())
});

attribute!(Running, c"cr_running", |this| {
    Ok(data(this).state(this.py())?.phase.get() == Phase::Running)
});

attribute!(Awaited, c"cr_await", |this| {
    let py = this.py();
    let state = data(this).state(py)?;
    let waiting = state.waiting.borrow();
    let future = waiting.as_ref().map(|waiting| waiting.future.clone_ref(py));
    Ok(future.unwrap_or_else(|| py.None()).into_bound(py))
});

attribute!(Suspended, c"cr_suspended", |this| {
    let phase = data(this).state(this.py())?.phase.get();
    Ok(phase == Phase::Waiting)
});

// `inspect.getcoroutinestate()` asks for this since Python 3.15.
attribute!(CoroutineState, c"cr_state", |this| {
    let text = match data(this).state(this.py())?.phase.get() {
        Phase::Created => "CORO_CREATED",
        Phase::Running => "CORO_RUNNING",
        Phase::Waiting => "CORO_SUSPENDED",
        Phase::Done => "CORO_CLOSED",
    };
    Ok(make::string(this.py(), text)?.into_any())
});

// Tools that draw a task's stack look for a frame wherever they find `cr_await`.
attribute!(Frame, c"cr_frame", |this| Ok(this
    .py()
    .None()
    .into_bound(this.py())));
