//! The timers of a loop, and the one of the reactor that wakes it for the earliest.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use pyo3::prelude::*;

use crate::driver::{Driver, Slot, Timer};
use crate::errors::os_error;
use crate::ffi::handle::{self, Handle};
use crate::ffi::handle_collector;
use crate::ffi::{Stopped, make};
use crate::scheduler::sources::NO_KEY;
use crate::scheduler::timers::Timers;
use crate::scheduler::visit::Visit;
use crate::sys::clock::monotonic_ns;

#[derive(Debug)]
pub(crate) struct Deadlines {
    timers: RefCell<Timers>,
    /// Made with the loop: one that is out of descriptors must still be able to wait. `None` once the loop is closed.
    timer: RefCell<Option<Timer>>,
    /// When the connections are looked at next, in nanoseconds on the monotonic clock; `timer` is armed for it. It is not among
    /// `timers`, because a turn reads the clock while there is one.
    look: Cell<Option<u64>>,
}

impl Deadlines {
    pub(super) fn new(driver: &Driver) -> PyResult<Self> {
        Ok(Self {
            timers: RefCell::default(),
            timer: RefCell::new(Some(make_timer(driver)?)),
            look: Cell::new(None),
        })
    }

    pub(crate) fn push(&self, when: f64, handle: Py<Handle>) -> PyResult<()> {
        self.timers.borrow_mut().push(when, handle)
    }

    /// As [`Local::push_stopped`](super::Local::push_stopped), for a timer.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(crate) fn push_stopped(
        &self,
        py: Python<'_>,
        when: f64,
        handle: Py<Handle>,
    ) -> PyResult<()> {
        self.timers.borrow_mut().push_stopped(py, when, handle)
    }

    /// A run begins: nothing more comes while the loop is stopped.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(in crate::scheduler) fn settle(&self, py: Python<'_>) {
        self.timers.borrow_mut().settle(py);
    }

    /// A timer in the heap was cancelled: lets go of all such when they are most of the heap. A callback may cancel
    /// a million, so this cannot wait for the next turn.
    #[inline]
    pub(in crate::scheduler) fn note_cancelled(&self, py: Python<'_>) {
        let is_stale = self.timers.borrow_mut().count_cancelled();
        if is_stale {
            self.sweep(py);
        }
    }

    /// A turn begins: lets go of cancelled timers when they are most of all; `more` of them have not been counted yet.
    #[inline]
    pub(in crate::scheduler) fn begin_turn(&self, py: Python<'_>, more: usize) {
        let is_stale = self.timers.borrow_mut().begin_turn(more);
        if is_stale {
            self.sweep(py);
        }
    }

    #[inline(never)]
    fn sweep(&self, py: Python<'_>) {
        let dead = self.timers.borrow_mut().sweep(py);
        for handle in dead {
            handle::set_unscheduled(handle.bind(py));
            handle_collector::leave(handle.bind(py));
        }
    }

    /// The next timer that is due at `now`, and its deadline.
    pub(super) fn pop_due<'py>(
        &self,
        py: Python<'py>,
        now: f64,
    ) -> Option<(f64, Bound<'py, Handle>)> {
        let (when, handle) = self.timers.borrow_mut().pop_due(py, now)?;
        handle::set_unscheduled(&handle);
        Some((when, handle))
    }

    /// How many timers there are that were not cancelled.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.timers.borrow().count()
    }

    /// The deadline to wait for, once cancelled timers on top are gone.
    pub(in crate::scheduler) fn next(&self, py: Python<'_>) -> Option<f64> {
        loop {
            let cancelled = self.timers.borrow_mut().pop_cancelled(py);
            let Some(handle) = cancelled else { break };
            handle::set_unscheduled(&handle);
            handle_collector::leave(&handle);
        }
        self.earliest()
    }

    /// Whether the reactor's timer is set.
    pub(in crate::scheduler) fn is_armed(&self) -> bool {
        self.timer.borrow().as_ref().is_some_and(Timer::is_armed)
    }

    #[inline]
    pub(in crate::scheduler) fn earliest(&self) -> Option<f64> {
        self.timers.borrow().earliest()
    }

    /// Wakes the loop at `deadline_ns` on the monotonic clock, or somewhat earlier, or as exactly as the timer can.
    pub(in crate::scheduler) fn arm(&self, deadline_ns: u64) {
        if let Some(timer) = &*self.timer.borrow() {
            timer.arm(deadline_ns);
        }
    }

    /// Has the connections looked at, at `deadline_ns` on the monotonic clock, and not later.
    pub(crate) fn look_at(&self, deadline_ns: u64) {
        let earlier = self
            .look
            .get()
            .map_or(deadline_ns, |at| at.min(deadline_ns));
        self.look.set(Some(earlier));
        self.arm(earlier);
    }

    /// An event of no source: the reactor's timer has fired, if it is its slot. Returns whether it is time to look at
    /// the connections.
    pub(super) fn fired_if(&self, slot: &Arc<Slot>) -> bool {
        if let Some(timer) = &*self.timer.borrow() {
            timer.fired_if(slot);
        }
        let Some(at) = self.look.get() else {
            return false;
        };
        let is_due = monotonic_ns() >= at;
        if is_due {
            self.look.set(None);
        } else {
            self.arm(at);
        }
        is_due
    }

    /// In a forked child: uses `timer` from now on. The parent's must not be set: its file is shared.
    pub(super) fn renew(&self, timer: Timer) -> Option<Timer> {
        let inherited = self.timer.replace(Some(timer));
        if let Some(at) = self.look.get() {
            self.arm(at);
        }
        inherited
    }

    /// The run is over: the collector must know every handle that waits for the next.
    pub(super) fn track(&self, py: Python<'_>) {
        self.timers
            .borrow()
            .handles()
            .for_each(|handle| handle_collector::track(handle.bind(py)));
    }

    /// The timers that were not cancelled, in no order.
    pub(crate) fn pending<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let timers = self.timers.borrow();
        make::collected(timers.handles().filter_map(|handle| {
            let handle = handle.bind(py);
            handle_collector::track(handle);
            (!handle::is_cancelled(handle)).then(|| Ok(handle.clone().into_any()))
        }))
    }

    /// Takes everything out, for the caller to drop.
    pub(super) fn take(&self, py: Python<'_>) -> (Vec<Py<Handle>>, Option<Timer>) {
        let timers = self.timers.borrow_mut().take();
        for timer in &timers {
            handle::set_unscheduled(timer.bind(py));
        }
        (timers, self.timer.take())
    }

    /// Shows the collector what is held.
    pub(super) fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        if let Ok(timers) = self.timers.try_borrow() {
            timers.objects(stopped, visit);
        }
    }
}

/// A timer of the reactor's.
pub(super) fn make_timer(driver: &Driver) -> PyResult<Timer> {
    Timer::new(driver, NO_KEY).map_err(os_error)
}
