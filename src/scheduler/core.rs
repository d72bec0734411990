//! The object behind a loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::inbox::Inbox;
use super::local::Local;
use super::meters::Meters;
use super::remote::Remote;
use super::task_factory::TaskFactory;
use super::tracer::Tracer;
use super::traces::Traces;
use crate::ffi::{Entered, Owner, OwnerCell, cast_to_usual};

/// The native part of an event loop: `yamanote.Loop` adds what happens once per loop or connection.
#[pyclass(subclass, frozen, module = "yamanote._yamanote")]
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Shared,
    owner: Owner,
    local: OwnerCell<Local>,
    remote: Arc<Remote>,
    pub(crate) task_factory: TaskFactory,
}

/// What every thread may touch.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) meters: Arc<Meters>,
    pub(crate) tracer: Arc<Tracer>,
    /// Set once, by the thread that closes. Relaxed: what others do with a closing loop is a race of theirs.
    closed: AtomicBool,
    /// Read for each new handle and task.
    pub(crate) traces: Traces,
    /// `DEBUG`, `TRACED`, `ARRANGED` and `FAULTY`: one test before each callback is for all. Relaxed, as switching them need not be
    /// exact.
    modes: AtomicU8,
    /// Read after each pass; Relaxed, as asyncio promises nothing to a `stop()` from another thread.
    stopping: AtomicBool,
    /// Timers that other threads cancelled while the loop ran, still to be counted by the loop (free-threaded builds).
    /// Relaxed: a sweep may come a turn later.
    cancelled_timers: AtomicUsize,
}

impl Shared {
    /// A timer of the loop was cancelled on a thread that may not touch the heap.
    #[cold]
    pub(super) fn count_cancelled_timer(&self) {
        self.cancelled_timers.fetch_add(1, Ordering::Relaxed);
    }

    /// The number counted since the last call.
    #[inline]
    pub(super) fn take_cancelled_timers(&self) -> usize {
        if cfg!(not(Py_GIL_DISABLED)) || self.cancelled_timers.load(Ordering::Relaxed) == 0 {
            return 0; // With the GIL, each thread may touch the heap.
        }
        let cancelled = self.cancelled_timers.swap(0, Ordering::Relaxed);
        self.meters.timers_cancelled.add_size(cancelled);
        cancelled
    }
}

impl Core {
    /// A loop that is neither running nor closed. With `own_clock`, its time is what Python's `time()` says; with
    /// `own_factory`, its task factory is what Python's `_task_factory` is.
    pub(crate) fn new(own_clock: bool, own_factory: bool) -> PyResult<Self> {
        let local = Local::new(own_clock)?;
        let remote = Arc::new(Remote::new(local.slot()));
        local.attach_slot(remote.slot(), Arc::<Remote>::clone(&remote));
        let shared = Shared {
            inbox: Inbox::new(local.ready_list(), local.meters()),
            meters: local.meters(),
            tracer: Arc::new(Tracer::new(local.meters())),
            closed: AtomicBool::default(),
            modes: AtomicU8::default(),
            traces: Traces::default(),
            stopping: AtomicBool::default(),
            cancelled_timers: AtomicUsize::default(),
        };
        Ok(Self {
            shared,
            owner: Owner::default(),
            local: OwnerCell::new(local),
            remote,
            task_factory: TaskFactory::new(own_factory),
        })
    }

    /// The object, if it is a loop of ours. Quick for the class that was asked for first: nearly all loops have one class.
    #[inline]
    pub(crate) fn cast<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Self>> {
        static USUAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        cast_to_usual(object, &USUAL)
    }

    /// The loop for threads that know nothing of Python.
    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The loop's own state; an error when it is at work on another thread.
    #[inline]
    pub(crate) fn local<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, Local>> {
        self.local.enter(py, &self.owner).ok_or_else(wrong_thread)
    }

    /// The loop's own state, or `None` when it is at work on another thread.
    pub(crate) fn try_local<'a>(&'a self, py: Python<'a>) -> Option<Entered<'a, Local>> {
        self.local.enter(py, &self.owner)
    }

    /// Whether a thread is inside `run_forever()`.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.owner.running_thread().is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn check_closed(&self) -> PyResult<()> {
        if self.is_closed() {
            Err(closed())
        } else {
            Ok(())
        }
    }

    #[inline]
    pub(crate) fn is_debug(&self) -> bool {
        self.is_in(DEBUG)
    }

    pub(crate) fn set_debug(&self, enabled: bool) {
        self.set_mode(DEBUG, enabled);
        self.shared.traces.set_debug(enabled);
    }

    /// Whether a trace is being taken.
    #[inline]
    pub(crate) fn is_traced(&self) -> bool {
        self.is_in(TRACED)
    }

    /// Whether callbacks are called with more than the call itself: in debug mode, traced, arranged, or with faults.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.is_in(DEBUG | TRACED | ARRANGED | FAULTY)
    }

    /// Whether Python's `_faults` decides how far each read and write goes.
    #[inline]
    pub(crate) fn has_faults(&self) -> bool {
        self.is_in(FAULTY)
    }

    pub(crate) fn set_faults(&self, enabled: bool) {
        self.set_mode(FAULTY, enabled);
    }

    /// Has Python's `_arrange()` decide in which order the entries of each pass run.
    pub(crate) fn arrange(&self, local: &Local) {
        local.testing.arrange();
        self.set_mode(ARRANGED, true);
    }

    #[inline]
    fn is_in(&self, modes: u8) -> bool {
        self.shared.modes.load(Ordering::Relaxed) & modes != 0
    }

    fn set_mode(&self, mode: u8, enabled: bool) {
        if enabled {
            self.shared.modes.fetch_or(mode, Ordering::Relaxed);
        } else {
            self.shared.modes.fetch_and(!mode, Ordering::Relaxed);
        }
    }

    /// Records the last `capacity` events from now on.
    pub(crate) fn start_trace(&self, py: Python<'_>, capacity: usize) {
        self.shared.tracer.start(py, capacity);
        self.set_mode(TRACED, true);
    }

    /// Records no more. The tracer keeps what it has.
    pub(crate) fn stop_trace(&self) {
        self.set_mode(TRACED, false);
    }

    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// The run is over: the next one starts without the `stop()` that ended it.
    pub(crate) fn clear_stop(&self) {
        self.shared.stopping.store(false, Ordering::Relaxed);
    }

    /// In a forked child, on its only thread: whatever the loop does from now on must not affect the parent.
    /// Nothing happens where there was no fork.
    pub(crate) fn forked(&self, py: Python<'_>) {
        let running = self.owner.running_thread().is_some();
        if !self.owner.forked(py) {
            return;
        }
        self.stop_trace();
        self.shared.tracer.forked(py);
        self.shared.inbox.unpark();
        self.shared.meters.phases.forked(self.is_running());
        if let Some(local) = self.try_local(py) {
            local.forked(running);
        }
    }

    /// Drops everything scheduled and ends the reactor. The loop must not be running.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.shared.closed.swap(true, Ordering::Relaxed) {
            self.local(py)?.close(self, py);
            let mut left = Vec::new();
            self.shared
                .inbox
                .take(|handles| std::mem::swap(&mut left, handles));
            drop(left);
        }
        Ok(())
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut result = Ok(());
        let mut each = |object: &Py<PyAny>| {
            if result.is_ok() {
                result = visit.call(object);
            }
        };
        self.local
            .while_stopped(visit.into())
            .objects(visit.into(), &mut each);
        self.shared.inbox.objects(&mut each);
        self.task_factory.objects(&mut each);
        result
    }
}

/// Debug mode.
const DEBUG: u8 = 1;
/// A trace is being taken.
const TRACED: u8 = 2;
/// A schedule of `yamanote.testing` learns what each callback has scheduled.
const ARRANGED: u8 = 4;
/// `yamanote.testing.faults`.
const FAULTY: u8 = 8;

impl Drop for Core {
    fn drop(&mut self) {
        self.remote.close();
    }
}

pub(super) fn closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

pub(crate) fn wrong_thread() -> PyErr {
    PyRuntimeError::new_err(
        "Non-thread-safe operation invoked on an event loop other than the current one",
    )
}
