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
    /// The entries that will have run when the present pass is over.
    pass_ends_at: Cell<u64>,
    /// How many entries the queue of the next pass had after each call of the last pass.
    ends: RefCell<Vec<usize>>,
}

impl Testing {
    #[inline]
    pub(crate) fn has_virtual_time(&self) -> bool {
        self.has_virtual_time.get()
    }

    pub(crate) fn use_virtual_time(&self) {
        self.has_virtual_time.set(true);
    }

    #[inline]
    pub(in crate::scheduler) fn arranges(&self) -> bool {
        self.arranges.get()
    }

    pub(in crate::scheduler) fn arrange(&self) {
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

    /// A pass begins that is over when so many entries have run in all. Returns what was noted in the last one.
    pub(in crate::scheduler) fn begin_pass(&self, ends_at: u64) -> Vec<usize> {
        self.pass_ends_at.set(ends_at);
        mem::take(&mut *self.ends.borrow_mut())
    }

    /// A call of a pass is over. So many entries have run; the queue has `queued`, with those of this pass.
    pub(in crate::scheduler) fn note_end(&self, ran: u64, queued: usize) {
        let left = self.pass_ends_at.get().saturating_sub(ran);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let mut ends = self.ends.borrow_mut();
        // Without memory, those that follow count as scheduled from outside.
        if ends.try_reserve(1).is_ok() {
            ends.push(queued.saturating_sub(left));
        }
    }
}
