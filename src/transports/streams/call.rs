//! The awaitables of an adopted stream's methods: coroutines that do what asyncio's do, on the same attributes.
//!
//! A call waits on a future that it puts where asyncio's `_wait_for_data` puts it. What is not the usual case is left
//! to asyncio's own coroutine, which the call then drives: the whole method before anything was changed, or only the
//! wait.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::call_state::{Awaited, CoroutineState, Frame, Name, QualifiedName, Running, Suspended};
use super::draining;
use super::fields::{Fields, Received};
use super::ordinary;
use super::reading::{self, Attempt, Want};
use crate::ffi::{
    Class, Coroutine, Entered, Members, NativeClass, OwnerCell, Step, Visitor, adopt, call, data,
    future, make, members, name, new_instance,
};
use crate::scheduler::Core;
use crate::scheduler::futures::create_future;
use crate::transports::warnings;

/// A call that has not finished yet.
#[derive(Debug)]
pub(crate) struct StreamCall {
    core: Py<Core>,
    /// The reader or the writer.
    object: Py<PyAny>,
    what: What,
    state: OwnerCell<State>,
}

/// The method that was called.
#[derive(Debug)]
pub(super) enum What {
    Read(Want),
    Drain,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Cell<Phase>,
    /// Bytes that were searched for a separator, without success.
    searched: Cell<usize>,
    pub(super) waits_for: RefCell<Option<Py<PyAny>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not awaited yet.
    Created,
    Running,
    /// `waits_for` is the reader's future.
    Waiting,
    /// `waits_for` is a coroutine of asyncio's `_wait_for_data`.
    WaitingOrdinarily,
    /// `waits_for` is a coroutine of asyncio's method, which does the rest.
    Ordinary,
    Done,
}

/// Creates a call, which begins when it is awaited.
#[inline]
pub(super) fn new<'py>(
    core: &Bound<'py, Core>,
    object: &Bound<'py, PyAny>,
    what: What,
) -> PyResult<Bound<'py, PyAny>> {
    let state = State {
        phase: Cell::new(Phase::Created),
        searched: Cell::new(0),
        waits_for: RefCell::new(None),
    };
    let this = StreamCall {
        core: core.clone().unbind(),
        object: object.clone().unbind(),
        what,
        state: OwnerCell::new(state),
    };
    new_instance(core.py(), this).map(Bound::into_any)
}

impl StreamCall {
    /// The state; an error while the call runs on another thread.
    #[inline]
    pub(super) fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, State>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }

    /// asyncio's class and name for the method.
    pub(super) fn name(&self) -> (&'static str, &'static str) {
        match &self.what {
            What::Read(Want::Some(_)) => ("StreamReader", "read"),
            What::Read(Want::Exactly(_)) => ("StreamReader", "readexactly"),
            What::Read(Want::Until(_)) => ("StreamReader", "readuntil"),
            What::Read(Want::Line) => ("StreamReader", "readline"),
            What::Drain => ("StreamWriter", "drain"),
        }
    }

    /// A coroutine of asyncio's own method.
    #[cold]
    fn ordinary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let object = self.object.bind(py);
        let name = make::string(py, self.name().1)?;
        match &self.what {
            What::Read(Want::Some(count) | Want::Exactly(count)) => ordinary::call(
                object,
                &name,
                &[make::int(py, *count)?.as_any().as_borrowed()],
            ),
            What::Read(Want::Until(separator)) => {
                ordinary::call(object, &name, &[separator.bind(py).as_any().as_borrowed()])
            }
            What::Read(Want::Line) | What::Drain => ordinary::call(object, &name, &[]),
        }
    }

    /// asyncio's name for the method that waits.
    fn waits_in(&self) -> &'static str {
        match &self.what {
            What::Read(Want::Line) => "readuntil",
            _ => self.name().1,
        }
    }
}

impl State {
    fn finish(&self) {
        self.phase.set(Phase::Done);
        let waited_for = self.waits_for.take();
        drop(waited_for);
    }

    fn waits_for<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let waits_for = self.waits_for.borrow();
        let object = waits_for.as_ref().map(|object| object.bind(py).clone());
        object.ok_or_else(reused) // The garbage collector cleared it.
    }
}

impl Coroutine for StreamCall {
    const REUSES_STOP: bool = true;

    fn has_begun(this: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(data(this).state(this.py())?.phase.get() != Phase::Created)
    }

    fn step<'py>(this: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let state = data(this).state(this.py())?;
        let before = state.phase.replace(Phase::Running);
        let step = match before {
            Phase::Created => begin(this, &state),
            Phase::Waiting => woken(this, &state).and_then(|fields| go_on(this, &state, &fields)),
            Phase::WaitingOrdinarily | Phase::Ordinary => {
                let step = state.waits_for(this.py()).and_then(|it| adopt::resume(&it));
                after_ordinary(this, &state, before, step)
            }
            Phase::Running => return Err(PyValueError::new_err("coroutine already executing")),
            Phase::Done => {
                state.phase.set(Phase::Done);
                return Err(reused());
            }
        };
        if !matches!(step, Ok(Step::Wait(_))) {
            state.finish();
        }
        step
    }

    fn throw<'py>(this: &Bound<'py, Self>, error: PyErr) -> PyResult<Step<'py>> {
        let py = this.py();
        let state = data(this).state(py)?;
        let before = state.phase.get();
        let step = match before {
            Phase::WaitingOrdinarily | Phase::Ordinary => {
                state.phase.set(Phase::Running);
                let step = state.waits_for(py).and_then(|it| adopt::throw(&it, error));
                after_ordinary(this, &state, before, step)
            }
            Phase::Waiting if goes_on(this, &error)? => {
                state.phase.set(Phase::Running);
                leave(this).and_then(|_| begin_ordinary(this, &state))
            }
            _ => {
                end(this)?;
                return Err(error);
            }
        };
        if !matches!(step, Ok(Step::Wait(_))) {
            state.finish();
        }
        step
    }

    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        if data(this).state(this.py())?.phase.get() == Phase::Done {
            return Ok(());
        }
        end(this)
    }
}

/// The first step.
#[inline]
fn begin<'py>(this: &Bound<'py, StreamCall>, state: &State) -> PyResult<Step<'py>> {
    let py = this.py();
    let call = data(this);
    let object = call.object.bind(py);
    match &call.what {
        What::Drain if draining::has_room(object)? => return Ok(Step::Done(make::none(py))),
        What::Drain => {}
        What::Read(want) => {
            if let Some(fields) = Fields::of(object)? {
                match reading::begin(&fields, want, &state.searched)? {
                    Attempt::Done(value) => return Ok(Step::Done(value)),
                    Attempt::Wait(received) => return wait(this, state, &fields, received),
                    Attempt::Ordinary => {}
                }
            }
        }
    }
    begin_ordinary(this, state)
}

#[cold]
fn begin_ordinary<'py>(this: &Bound<'py, StreamCall>, state: &State) -> PyResult<Step<'py>> {
    let coroutine = data(this).ordinary(this.py())?;
    drive(this, state, coroutine, Phase::Ordinary)
}

/// Tries again after a wait.
#[inline]
fn go_on<'py>(
    this: &Bound<'py, StreamCall>,
    state: &State,
    fields: &Fields<'py>,
) -> PyResult<Step<'py>> {
    let call = data(this);
    let What::Read(want) = &call.what else {
        return Err(reused()); // Only reads wait.
    };
    match reading::attempt(fields, want, &state.searched)? {
        Attempt::Done(value) => Ok(Step::Done(value)),
        Attempt::Wait(received) => wait(this, state, fields, received),
        Attempt::Ordinary => begin_ordinary(this, state),
    }
}

/// `_wait_for_data()`, after an attempt that has found that the stream is not at its end.
#[inline]
fn wait<'py>(
    this: &Bound<'py, StreamCall>,
    state: &State,
    fields: &Fields<'py>,
    received: Received<'py>,
) -> PyResult<Step<'py>> {
    let py = this.py();
    let call = data(this);
    if fields.has_waiter()? || fields.is_paused()? {
        return wait_ordinarily(this, state);
    }
    if !matches!(call.what, What::Read(Want::Exactly(_))) {
        fields.prefer_bytes(received)?;
    }
    let core = call.core.bind(py);
    let future = create_future(core)?;
    fields.set_waiter(&future)?;
    // As `Future.__await__` does, so that the task knows that the future was awaited and not yielded by mistake.
    future::set_blocking(&future)?;
    state.waits_for.replace(Some(future.clone().unbind()));
    state.phase.set(Phase::Waiting);
    Ok(Step::Wait(future))
}

#[cold]
fn wait_ordinarily<'py>(this: &Bound<'py, StreamCall>, state: &State) -> PyResult<Step<'py>> {
    let py = this.py();
    let call = data(this);
    let method = make::string(py, call.waits_in())?;
    let reader = call.object.bind(py);
    let coroutine = call::method(reader, name!(py, "_wait_for_data"), [method.as_any()])?;
    drive(this, state, coroutine, Phase::WaitingOrdinarily)
}

/// The first step of a coroutine of asyncio's.
fn drive<'py>(
    this: &Bound<'py, StreamCall>,
    state: &State,
    coroutine: Bound<'py, PyAny>,
    phase: Phase,
) -> PyResult<Step<'py>> {
    let before = state.waits_for.replace(Some(coroutine.clone().unbind()));
    drop(before);
    let step = adopt::resume(&coroutine);
    after_ordinary(this, state, phase, step)
}

/// What follows from a step of a coroutine of asyncio's.
fn after_ordinary<'py>(
    this: &Bound<'py, StreamCall>,
    state: &State,
    phase: Phase,
    step: PyResult<Step<'py>>,
) -> PyResult<Step<'py>> {
    match step? {
        Step::Wait(object) => {
            state.phase.set(phase);
            Ok(Step::Wait(object))
        }
        Step::Done(_) if phase == Phase::WaitingOrdinarily => {
            let coroutine = state.waits_for.take();
            drop(coroutine);
            go_on(this, state, &fields_of(this)?)
        }
        done @ Step::Done(_) => Ok(done),
    }
}

/// The reader's future is done: it was fed, or the program cancelled it.
#[inline]
fn woken<'py>(this: &Bound<'py, StreamCall>, state: &State) -> PyResult<Fields<'py>> {
    let py = this.py();
    let future = state.waits_for(py)?;
    let result = future::result(&future);
    let fields = leave(this)?;
    let Err(error) = result else {
        let future = state.waits_for.take();
        drop(future);
        return Ok(fields);
    };
    if !call::method(&future, name!(py, "done"), [])?.is_truthy()? {
        return Err(PyRuntimeError::new_err("await wasn't used with future"));
    }
    Err(error)
}

/// Whether asyncio's method catches this error of a wait. `readline` does, for two kinds, which its own `readuntil`
/// raises; a program may set one as the reader's exception.
#[cold]
fn goes_on(this: &Bound<'_, StreamCall>, error: &PyErr) -> PyResult<bool> {
    Ok(matches!(data(this).what, What::Read(Want::Line))
        && reading::is_caught_by_readline(this.py(), error)?)
}

/// The `finally` of `_wait_for_data()`.
#[inline]
fn leave<'py>(this: &Bound<'py, StreamCall>) -> PyResult<Fields<'py>> {
    let fields = fields_of(this)?;
    fields.forget_waiter()?;
    Ok(fields)
}

#[inline]
fn fields_of<'py>(this: &Bound<'py, StreamCall>) -> PyResult<Fields<'py>> {
    Fields::even_with_others(data(this).object.bind(this.py()))
}

fn end(this: &Bound<'_, StreamCall>) -> PyResult<()> {
    let py = this.py();
    let state = data(this).state(py)?;
    let before = state.phase.get();
    let result = match before {
        Phase::Running => return Err(PyValueError::new_err("coroutine already executing")),
        Phase::Done => return Err(reused()),
        Phase::Created => Ok(()),
        Phase::Waiting => leave(this).map(drop),
        Phase::WaitingOrdinarily | Phase::Ordinary => state.waits_for(py).and_then(|coroutine| {
            state.phase.set(Phase::Running);
            call::method(&coroutine, name!(py, "close"), []).map(drop)
        }),
    };
    state.finish();
    result
}

fn reused() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

impl NativeClass for StreamCall {
    const NAME: &'static CStr = c"yamanote._yamanote.StreamCall";
    const DOC: &'static CStr =
        c"A call of a stream's method: a coroutine, made by `StreamReader.read` and its kin.";

    const KEPT: usize = 64; // As many calls as end in a turn of a busy server; 7 KiB.

    #[inline]
    fn needs_no_finalizer(&self, py: Python<'_>) -> bool {
        self.state(py)
            .is_ok_and(|state| state.phase.get() == Phase::Done)
    }

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
        visitor.object(&self.object);
        if let Ok(waits_for) = state.waits_for.try_borrow() {
            visitor.option(waits_for.as_ref());
        }
    }

    fn clear(&self, py: Python<'_>) {
        let Ok(state) = self.state(py) else { return };
        let gone = state.waits_for.take();
        drop(gone);
    }

    /// The call can no longer be awaited: warns if it never was, and ends a pending wait.
    fn finalize(this: &Bound<'_, Self>) {
        let py = this.py();
        let Ok(state) = data(this).state(py) else {
            return;
        };
        let result = match state.phase.get() {
            Phase::Done | Phase::Running => return,
            Phase::Created => warnings::never_awaited(this.as_any(), &qualified(this)),
            Phase::Waiting | Phase::WaitingOrdinarily | Phase::Ordinary => end(this),
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

pub(super) fn qualified(this: &Bound<'_, StreamCall>) -> String {
    let (class, name) = data(this).name();
    format!("{class}.{name}")
}
