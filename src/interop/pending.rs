//! The state of one future: who polls it, which task waits for it, and where its result goes.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::waiter::{Waiter, cancelled_error};
use crate::driver::{Slot, lend, wake};
use crate::ffi::capsule::Refusal;
use crate::ffi::context::run_in;
use crate::ffi::naming::{self, Called};
use crate::ffi::pollable::Pollable;
use crate::ffi::{OwnerCell, Stopped};
use crate::scheduler::report::report;
use crate::scheduler::tracer::Kind;
use crate::scheduler::{Core, Local, Source, Visit, is_exit, wrong_thread};

/// Shared by the awaitable, its waiter and, until the end, the loop's table of sources.
#[derive(Debug)]
pub(super) struct Pending {
    /// The slot that its wakers fire.
    slot: Arc<Slot>,
    /// Whether the awaitable was dropped, or closed on a foreign thread; the next wake then ends it. Relaxed: the
    /// slot's wake, which follows the store, orders it before the load.
    abandoned: AtomicBool,
    state: OwnerCell<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// The task that waits.
    callback: Option<Callback>,
    /// Whether it was woken while no task waited.
    woken: bool,
    /// The message (or `None`) with which the waiter was cancelled, until the task receives it.
    cancelled: Option<Py<PyAny>>,
}

#[derive(Debug)]
enum Stage {
    Idle(Pollable),
    Polling,
    /// The result, until it is awaited.
    Ready(PyResult<Py<PyAny>>),
    Done,
}

/// The arguments of `add_done_callback`.
#[derive(Debug)]
pub(super) struct Callback {
    pub(super) function: Py<PyAny>,
    pub(super) context: Py<PyAny>,
    pub(super) waiter: Py<Waiter>,
}

impl Pending {
    /// Registers it with the loop, which ends it when the loop is closed.
    pub(super) fn new(local: &Local, pollable: Pollable) -> Arc<Self> {
        let this = Arc::new(Self {
            slot: local.slot(),
            abandoned: AtomicBool::new(false),
            state: OwnerCell::new(RefCell::new(State {
                stage: Stage::Idle(pollable),
                callback: None,
                woken: false,
                cancelled: None,
            })),
        });
        local.attach_slot(&this.slot, Arc::<Self>::clone(&this));
        this
    }

    /// The loop now owns the pollable.
    pub(super) fn adopt(&self, py: Python<'_>, core: &Core) {
        self.try_with(py, core, |state| {
            if let Stage::Idle(pollable) = &mut state.stage {
                pollable.adopt();
            }
        });
    }

    /// Returns the pollable, if it has not been polled yet, and deregisters it from the loop.
    pub(super) fn take_back(&self, py: Python<'_>, core: &Core) -> Option<Pollable> {
        let stage = self.try_with(py, core, |state| {
            mem::replace(&mut state.stage, Stage::Done)
        });
        core.try_local(py)?.detach_slot(&self.slot);
        match stage? {
            Stage::Idle(pollable) => Some(pollable),
            _ => None,
        }
    }

    /// One step of awaiting: returns the result, or polls.
    pub(super) fn step(&self, core: &Bound<'_, Core>) -> PyResult<Poll<Py<PyAny>>> {
        let (py, this) = (core.py(), core.get());
        let taken = self.with(py, this, |state| {
            let polling = matches!(state.stage, Stage::Polling);
            if state.callback.is_some() && !polling {
                return Err(PyRuntimeError::new_err(
                    "the Rust future is being awaited already",
                ));
            }
            match mem::replace(&mut state.stage, Stage::Polling) {
                Stage::Polling => Err(executing()),
                Stage::Done => {
                    state.stage = Stage::Done;
                    Err(PyRuntimeError::new_err(
                        "cannot reuse already awaited Rust future",
                    ))
                }
                Stage::Idle(pollable) => {
                    state.woken = false;
                    Ok(Stage::Idle(pollable))
                }
                ready @ Stage::Ready(_) => {
                    state.stage = Stage::Done;
                    Ok(ready)
                }
            }
        })??;
        let result = match taken {
            Stage::Idle(pollable) => match self.poll(core, pollable)? {
                Poll::Ready(result) => result,
                Poll::Pending => return Ok(Poll::Pending),
            },
            Stage::Ready(result) => result,
            Stage::Polling | Stage::Done => return Err(executing()), // Excluded above.
        };
        self.detach(core)?;
        result.map(Poll::Ready)
    }

    /// Polls what was taken out of the state, which is `Polling` meanwhile, and sets it to `Idle` again or to `Done`.
    fn poll(
        &self,
        core: &Bound<'_, Core>,
        mut pollable: Pollable,
    ) -> PyResult<Poll<PyResult<Py<PyAny>>>> {
        let (py, this) = (core.py(), core.get());
        if !pollable.is_at_home(py) {
            self.with(py, this, |state| state.stage = Stage::Idle(pollable))?;
            return Err(wrong_thread());
        }
        let waker = lend(&self.slot);
        let polled = if pollable.wants_runtime()
            && let Some(inside) = this.local(py)?.inside()
        {
            inside.call(|| pollable.poll(py, waker))
        } else {
            pollable.poll(py, waker)
        };
        let leftover = self.with(py, this, |state| {
            // If it was ended from inside the poll, it stays so.
            let ended = !matches!(state.stage, Stage::Polling);
            if polled.is_pending() && !ended && !self.abandoned.load(Ordering::Relaxed) {
                state.stage = Stage::Idle(pollable);
                return None;
            }
            if !ended {
                state.stage = Stage::Done;
            }
            Some(pollable)
        })?;
        drop(leftover);
        Ok(polled.map(|result| result.map(Bound::unbind)))
    }

    /// Drops the future: at once, or later on the thread where it may be dropped.
    ///
    /// Returns `ValueError` while it is being polled, as a coroutine does.
    pub(super) fn close(&self, py: Python<'_>, core: &Core) -> PyResult<()> {
        let polling = |state: &mut State| matches!(state.stage, Stage::Polling);
        if self.try_with(py, core, polling) == Some(true) {
            return Err(executing());
        }
        self.abandon(py, core)
    }

    /// Gives the result up and drops the future, at the latest when the current poll ends.
    pub(super) fn abandon(&self, py: Python<'_>, core: &Core) -> PyResult<()> {
        let here = self.try_with(py, core, |state| match &state.stage {
            Stage::Polling => false,
            Stage::Idle(pollable) => pollable.is_at_home(py),
            Stage::Ready(_) | Stage::Done => true,
        });
        if here == Some(true) {
            return self.end(py, core);
        }
        self.abandoned.store(true, Ordering::Relaxed);
        wake(&self.slot);
        Ok(())
    }

    /// Whether it has ended, and its result, if any, was taken.
    pub(super) fn is_done(&self, py: Python<'_>, core: &Core) -> PyResult<bool> {
        self.with(py, core, |state| matches!(state.stage, Stage::Done))
    }

    /// Drops the future; awaiting it now or later raises `CancelledError`.
    pub(super) fn cancel(&self, py: Python<'_>, core: &Core) -> Result<(), Refusal> {
        let error = cancelled_error(py, &py.None()).map_err(Refusal::Python)?;
        let replaced = self
            .try_with(py, core, |state| match &state.stage {
                Stage::Polling | Stage::Done => Err(Refusal::Done),
                Stage::Idle(_) | Stage::Ready(_) => {
                    Ok(mem::replace(&mut state.stage, Stage::Ready(Err(error))))
                }
            })
            .ok_or(Refusal::WrongThread)??;
        drop(replaced);
        wake(&self.slot);
        Ok(())
    }

    /// Registers the task's callback, which is called when there is something for the task. Returns `false` if it has
    /// ended.
    pub(super) fn wait(&self, py: Python<'_>, core: &Core, callback: Callback) -> PyResult<bool> {
        let (left, woken) = self.with(py, core, |state| {
            if state.callback.is_some() || matches!(state.stage, Stage::Done) {
                return (Some(callback), false);
            }
            state.callback = Some(callback);
            (None, state.woken || matches!(state.stage, Stage::Ready(_)))
        })?;
        if woken {
            wake(&self.slot);
        }
        Ok(left.is_none())
    }

    /// Removes the task's callback. Returns whether there was one.
    pub(super) fn wait_no_more(&self, py: Python<'_>, core: &Core) -> PyResult<bool> {
        let callback = self.with(py, core, |state| state.callback.take())?;
        Ok(callback.is_some())
    }

    /// Cancels the task's wait. Returns `false` if no task waits, or if its wait is being cancelled already.
    pub(super) fn cancel_wait(
        &self,
        py: Python<'_>,
        core: &Core,
        message: Py<PyAny>,
    ) -> PyResult<bool> {
        let done = self.with(py, core, |state| {
            let possible = state.callback.is_some() && state.cancelled.is_none();
            if possible {
                state.cancelled = Some(message);
            }
            possible
        })?;
        if done {
            wake(&self.slot);
        }
        Ok(done)
    }

    /// Takes the message of the cancellation that the task must receive.
    pub(super) fn take_cancellation(
        &self,
        py: Python<'_>,
        core: &Core,
    ) -> PyResult<Option<Py<PyAny>>> {
        self.with(py, core, |state| state.cancelled.take())
    }

    /// Drops everything: the future, a result, the waiting task.
    fn end(&self, py: Python<'_>, core: &Core) -> PyResult<()> {
        let before = self.with(py, core, |state| {
            (
                mem::replace(&mut state.stage, Stage::Done),
                state.callback.take(),
                state.cancelled.take(),
            )
        })?;
        core.local(py)?.detach_slot(&self.slot);
        drop(before);
        Ok(())
    }

    fn detach(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        core.get().local(core.py())?.detach_slot(&self.slot);
        Ok(())
    }

    /// Calls `call` with the state; `call` must run no Python code.
    fn with<R>(
        &self,
        py: Python<'_>,
        core: &Core,
        call: impl FnOnce(&mut State) -> R,
    ) -> PyResult<R> {
        self.try_with(py, core, call).ok_or_else(wrong_thread)
    }

    fn try_with<R>(
        &self,
        py: Python<'_>,
        core: &Core,
        call: impl FnOnce(&mut State) -> R,
    ) -> Option<R> {
        let state = self.state.enter(py, core.owner())?;
        let result = call(&mut state.borrow_mut());
        Some(result)
    }
}

/// What to do after a wake.
enum Woken {
    Nothing,
    /// Poll, in this context.
    Poll(Pollable, Py<PyAny>),
    /// Resume the task, for which there is something already.
    Resume(Callback),
}

impl Source for Pending {
    fn on_ready(&self, core: &Bound<'_, Core>, _ready: u8) -> PyResult<()> {
        let (py, this) = (core.py(), core.get());
        if self.abandoned.load(Ordering::Relaxed) {
            return self.end(py, this);
        }
        let woken = self.with(py, this, |state| {
            let Some(callback) = &state.callback else {
                state.woken = true;
                return Woken::Nothing;
            };
            let context = callback.context.clone_ref(py);
            if state.cancelled.is_none() && !matches!(state.stage, Stage::Ready(_)) {
                return match mem::replace(&mut state.stage, Stage::Polling) {
                    Stage::Idle(pollable) => Woken::Poll(pollable, context),
                    other => {
                        state.stage = other;
                        Woken::Nothing
                    }
                };
            }
            state.callback.take().map_or(Woken::Nothing, Woken::Resume)
        })?;
        let resumed = match woken {
            Woken::Nothing => return Ok(()),
            Woken::Poll(pollable, context) => {
                run_in(context.bind(py), |_| self.poll_and_resume(core, pollable))
            }
            Woken::Resume(callback) => {
                run_in(callback.context.bind(py), |_| resume(core, &callback))
            }
        };
        resumed.or_else(|error| failed(core, error))
    }

    fn traced(&self, core: &Bound<'_, Core>, _ready: u8) -> PyResult<(Kind, Option<Called>)> {
        let py = core.py();
        let function = self.try_with(py, core.get(), |state| {
            let callback = state.callback.as_ref();
            callback.map(|callback| callback.function.clone_ref(py))
        });
        let called = function
            .flatten()
            .map(|function| naming::of_callback(function.bind(py)));
        Ok((Kind::Future, called.transpose()?))
    }

    fn on_close(&self, core: &Core, py: Python<'_>) {
        // Ignored: the only error is use on another thread, and only the thread that owns the loop closes it.
        drop(self.end(py, core));
    }

    fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        if let Ok(state) = self.state.while_stopped(stopped).try_borrow()
            && let Some(callback) = &state.callback
        {
            visit(&callback.function);
            visit(&callback.context);
            visit(callback.waiter.as_any());
        }
    }
}

impl Pending {
    /// Polls in the task's context, and resumes the task if that ends it.
    fn poll_and_resume(&self, core: &Bound<'_, Core>, pollable: Pollable) -> PyResult<()> {
        let result = match self.poll(core, pollable) {
            Ok(Poll::Pending) => return Ok(()),
            Ok(Poll::Ready(result)) => result,
            Err(error) => Err(error),
        };
        let (before, callback) = self.with(core.py(), core.get(), |state| {
            let before = mem::replace(&mut state.stage, Stage::Ready(result));
            (before, state.callback.take())
        })?;
        drop(before);
        callback.map_or(Ok(()), |callback| resume(core, &callback))
    }
}

/// Resumes the waiting task, in its context.
fn resume(core: &Bound<'_, Core>, callback: &Callback) -> PyResult<()> {
    let py = core.py();
    callback
        .function
        .bind(py)
        .call1((callback.waiter.bind(py).as_any(),))
        .map(drop)
}

/// Reports an exception that a task's own step raised; returns it if it must end the run.
#[cold]
fn failed(core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
    let py = core.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let message = "Exception in the wake-up of a Rust future";
    report(core, message, &error, &[])
}

fn executing() -> PyErr {
    PyValueError::new_err("the Rust future is being polled already")
}
