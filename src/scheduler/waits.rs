//! When to check whether the program has closed descriptors that pending calls wait for.
//!
//! The kernel does not report that a watched descriptor was closed: epoll and kqueue silently drop it. Callbacks
//! close descriptors, so a check is needed after callbacks have run. It costs one system call per awaited descriptor,
//! so it is delayed, and one check covers all turns until then.

use std::cell::Cell;

/// Whether calls wait for the program's descriptors, and since when some may be closed.
#[derive(Debug, Default)]
pub(super) struct Waits {
    any: Cell<bool>,
    /// Callbacks have run since the last check.
    is_open: Cell<bool>,
    /// The time of the next check, in nanoseconds on the monotonic clock.
    due_ns: Cell<u64>,
}

/// What to do at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    No,
    Now,
    /// Check at this time, in nanoseconds on the monotonic clock.
    At(u64),
}

impl Waits {
    /// To be called when a call starts to wait.
    pub(super) fn begin(&self) {
        self.any.set(true);
    }

    /// To be called after a check; `any` is whether any calls still wait.
    pub(super) fn asked(&self, any: bool) {
        self.any.set(any);
        self.is_open.set(false);
    }

    /// What to do at the end of a turn; `ran` is whether it ran callbacks.
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

/// Long enough to make the cost negligible, and short enough for a program that is about to exit.
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
