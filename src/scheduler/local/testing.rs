//! What a loop for tests does differently: `yamanote.testing` decides when time passes, and in which order tasks run.

use std::cell::{Cell, RefCell};
use std::mem;

/// The part of a loop that only `yamanote.testing` sets.
#[derive(Debug, Default)]
pub(crate) struct Testing {
    /// Whether the loop asks Python's `_advance()` before it waits.
    has_virtual_time: Cell<bool>,
    /// Whether the loop asks Python's `_arrange()` for the order of each pass.
    arranges: Cell<bool>,
    /// The entries that had run, and whether the reactor's timer was set, when `_advance()` was asked last.
    seen: Cell<(u64, bool)>,
    /// For each entry of the last pass, how many entries the queue of the next pass had afterwards.
    ends: RefCell<Vec<usize>>,
}

impl Testing {
    #[inline]
    pub(in crate::scheduler) fn has_virtual_time(&self) -> bool {
        self.has_virtual_time.get()
    }

    pub(crate) fn use_virtual_time(&self) {
        self.has_virtual_time.set(true);
    }

    #[inline]
    pub(in crate::scheduler) fn arranges(&self) -> bool {
        self.arranges.get()
    }

    pub(crate) fn arrange(&self) {
        self.arranges.set(true);
    }

    /// Whether anything but the reactor's own timer ran since the last call. `ran` counts entries; `armed` says
    /// whether that timer is set.
    pub(in crate::scheduler) fn has_progressed(&self, ran: u64, armed: bool) -> bool {
        let (before, was_armed) = self.seen.replace((ran, armed));
        let timer = u64::from(was_armed && !armed);
        ran.wrapping_sub(before) > timer
    }

    /// The clock has armed the reactor's timer for a real wait.
    pub(in crate::scheduler) fn note_armed(&self) {
        let (ran, _) = self.seen.get();
        self.seen.set((ran, true));
    }

    /// An entry of a pass is over; the queue of the next pass has `queued` entries.
    pub(in crate::scheduler) fn note_end(&self, queued: usize) {
        let mut ends = self.ends.borrow_mut();
        // Without memory, those that follow count as queued from outside.
        if ends.try_reserve(1).is_ok() {
            ends.push(queued);
        }
    }

    /// What was noted since the last call.
    pub(in crate::scheduler) fn take_ends(&self) -> Vec<usize> {
        mem::take(&mut *self.ends.borrow_mut())
    }
}
