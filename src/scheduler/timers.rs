//! Timers ordered by deadline.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::mem;

use pyo3::prelude::*;

use super::visit::Visit;
use crate::ffi::handle::{self, Handle};
use crate::ffi::{Stopped, handle_collector, make};

/// A heap of timer handles. Deadlines are seconds on the loop's clock; equal deadlines keep their order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Timer>,
    sequence: u64,
    /// The number of cancelled timers in the heap, less those that other threads have cancelled since the turn began. Of
    /// these, a sweep may have removed some already: then it is negative.
    cancelled: isize,
    /// The number of cancelled timers that were swept since the turn began.
    swept: usize,
    /// The timer scheduled last while the loop was not running; it is in the heap too.
    newest: Option<Py<Handle>>,
}

#[derive(Debug)]
struct Timer {
    /// The deadline as an integer with the same order, which the heap compares.
    order: i64,
    sequence: u64,
    handle: Py<Handle>,
}

impl Timers {
    pub(super) fn push(&mut self, when: f64, handle: Py<Handle>) -> PyResult<()> {
        self.heap.try_reserve(1).map_err(make::no_memory)?;
        self.sequence += 1;
        self.heap.push(Timer {
            order: order(when),
            sequence: self.sequence,
            handle,
        });
        Ok(())
    }

    /// As `push`, while the loop does not run: when the next timer is scheduled, the collector stops tracking this
    /// one, unless it has other references.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(super) fn push_stopped(
        &mut self,
        py: Python<'_>,
        when: f64,
        handle: Py<Handle>,
    ) -> PyResult<()> {
        let newest = handle.clone_ref(py);
        self.push(when, handle)?;
        self.settle(py);
        self.newest = Some(newest);
        Ok(())
    }

    /// Untracks the newest timer from the garbage collector, unless it has other references.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(super) fn settle(&mut self, py: Python<'_>) {
        if let Some(newest) = self.newest.take() {
            // The drop runs no code, because the heap holds a reference too.
            handle_collector::untrack_unless_shared(&newest.into_bound(py), 2);
        }
    }

    /// The earliest deadline, cancelled or not.
    #[inline]
    pub(super) fn earliest(&self) -> Option<f64> {
        self.heap.peek().map(Timer::when)
    }

    /// Removes the next timer that is due at `now`, as every method that removes: the caller calls `set_unscheduled`.
    ///
    /// It may be a cancelled one: running it does nothing.
    pub(super) fn pop_due<'py>(
        &mut self,
        py: Python<'py>,
        now: f64,
    ) -> Option<(f64, Bound<'py, Handle>)> {
        let when = self.heap.peek()?.when();
        if when > now {
            return None;
        }
        Some((when, self.pop(py)?))
    }

    /// How many there are that were not cancelled, as far as counted.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.heap.len().saturating_sub(self.cancelled())
    }

    /// Removes the next timer if it was cancelled.
    pub(super) fn pop_cancelled<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, Handle>> {
        if self.cancelled <= 0 || !handle::is_cancelled(self.heap.peek()?.handle.bind(py)) {
            return None;
        }
        self.pop(py)
    }

    /// Counts a cancelled timer in the heap. Whether there are too many: then the caller sweeps.
    #[inline]
    pub(super) fn count_cancelled(&mut self) -> bool {
        self.cancelled += 1;
        let is_stale = is_stale(self.heap.len(), self.cancelled());
        if is_stale {
            self.swept += self.cancelled();
        }
        is_stale
    }

    /// As `count_cancelled`, for `more` timers at the beginning of a turn. asyncio sweeps only then, and so finds all that were cancelled
    /// since the last one.
    #[inline]
    pub(super) fn begin_turn(&mut self, more: usize) -> bool {
        self.cancelled += more.cast_signed();
        let swept = mem::take(&mut self.swept);
        self.cancelled > 0 && is_stale(self.heap.len() + swept, self.cancelled() + swept)
    }

    /// Removes the cancelled timers. The caller drops them where a destructor may run Python code.
    pub(super) fn sweep(&mut self, py: Python<'_>) -> Vec<Py<Handle>> {
        let mut dead = Vec::new();
        // One more for `newest`. Without memory they stay for a later sweep.
        if dead.try_reserve_exact(self.heap.len() + 1).is_err() {
            return dead;
        }
        let mut timers = mem::take(&mut self.heap).into_vec();
        let cancelled = |timer: &mut Timer| handle::is_cancelled(timer.handle.bind(py));
        dead.extend(timers.extract_if(.., cancelled).map(|timer| timer.handle));
        self.heap = timers.into();
        self.cancelled -= dead.len().cast_signed();
        // The heap may have held the only other reference.
        dead.extend(
            self.newest
                .take_if(|newest| handle::is_cancelled(newest.bind(py))),
        );
        dead
    }

    /// Removes all timers, for the caller to drop.
    pub(super) fn take(&mut self) -> Vec<Py<Handle>> {
        self.cancelled = 0;
        self.newest = None;
        mem::take(&mut self.heap)
            .into_iter()
            .map(|timer| timer.handle)
            .collect()
    }

    /// Visits what is held for the garbage collector.
    pub(super) fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        self.handles()
            .chain(&self.newest)
            .for_each(|handle| handle_collector::objects(handle, stopped, visit));
    }

    /// All timers in the heap.
    pub(super) fn handles(&self) -> impl Iterator<Item = &Py<Handle>> {
        self.heap.iter().map(|timer| &timer.handle)
    }

    fn cancelled(&self) -> usize {
        self.cancelled.max(0).cast_unsigned()
    }

    fn pop<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, Handle>> {
        let handle = self.heap.pop()?.handle.into_bound(py);
        if handle::is_cancelled(&handle) {
            self.cancelled -= 1;
        }
        Some(handle)
    }
}

impl Timer {
    #[inline]
    fn when(&self) -> f64 {
        f64::from_bits(mirrored(self.order).cast_unsigned())
    }
}

/// The order of `f64::total_cmp`, with its transformation made once instead of in each comparison.
fn order(when: f64) -> i64 {
    mirrored(when.to_bits().cast_signed())
}

/// Reverses the order of the negative numbers. The sign stays, so doing it again undoes it.
fn mirrored(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// asyncio's rule.
#[inline]
fn is_stale(scheduled: usize, cancelled: usize) -> bool {
    scheduled > MIN_SCHEDULED && cancelled * 2 > scheduled
}

/// asyncio's value (`base_events.py`): for fewer timers, a sweep costs more than it frees.
const MIN_SCHEDULED: usize = 100;

// The greatest timer in this order is the one to run first.
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.order, other.sequence).cmp(&(self.order, self.sequence))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timer {}
