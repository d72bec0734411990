//! When to ask whether the program has closed what calls of the loop's wait for.
//!
//! The kernel does not tell that a watched descriptor was closed: its set loses it in silence. Callbacks close
//! descriptors, so the question comes up when some have run. It costs a system call for each that is waited for, and is
//! put off for a while: one answer does for all the turns until then.

use std::cell::Cell;

/// Whether calls wait for descriptors of the program's, and since when some may be gone.
#[derive(Debug, Default)]
pub(super) struct Waits {
    any: Cell<bool>,
    /// Callbacks ran since it was last asked.
    is_open: Cell<bool>,
    /// When it is asked next, in nanoseconds on the monotonic clock.
    due_ns: Cell<u64>,
}

/// What to do at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    No,
    Now,
    /// At this time on the monotonic clock.
    At(u64),
}

impl Waits {
    /// A call waits from now on.
    pub(super) fn begin(&self) {
        self.any.set(true);
    }

    /// It was asked: whether any are left.
    pub(super) fn asked(&self, any: bool) {
        self.any.set(any);
        self.is_open.set(false);
    }

    /// At the end of a turn, which ran callbacks or not.
    #[inline]
    pub(super) fn at_end_of_turn(&self, now_ns: impl FnOnce() -> u64, ran: bool) -> Ask {
        if !self.any.get() || !(ran || self.is_open.get()) {
            return Ask::No;
        }
        let now_ns = now_ns();
        if !self.is_open.replace(true) {
            self.due_ns.set(now_ns + DELAY_NS);
        }
        if now_ns < self.due_ns.get() {
            Ask::At(self.due_ns.get())
        } else {
            Ask::Now
        }
    }
}

/// Rare enough to cost nothing beside the turns between, and soon enough for a program that is to end.
const DELAY_NS: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_once_for_all_turns_of_a_while() {
        let waits = Waits::default();
        assert_eq!(waits.at_end_of_turn(|| 1, true), Ask::No);
        waits.begin();
        assert_eq!(waits.at_end_of_turn(|| 1, false), Ask::No);
        assert_eq!(waits.at_end_of_turn(|| 2, true), Ask::At(2 + DELAY_NS));
        assert_eq!(waits.at_end_of_turn(|| 9, true), Ask::At(2 + DELAY_NS));
        assert_eq!(waits.at_end_of_turn(|| 2 + DELAY_NS, false), Ask::Now);
        waits.asked(true);
        assert_eq!(waits.at_end_of_turn(|| 3 + DELAY_NS, false), Ask::No);
        waits.asked(false);
        assert_eq!(waits.at_end_of_turn(|| 4 + DELAY_NS, true), Ask::No);
    }
}
