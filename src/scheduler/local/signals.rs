//! Signals end the loop's wait.

use std::cell::Cell;
use std::os::fd::RawFd;

use pyo3::prelude::*;

use crate::ffi::signals::{IS_CHEAP, set_wakeup_fd};
use crate::sys::clock::monotonic_ns;

/// Python's C signal handler writes to one descriptor, and that is the program's. It is exchanged for the loop's own for
/// as long as the loop waits and no further, so that no callback finds another there than the program has set.
///
/// Before Python 3.13 the exchange costs two system calls. A loop that has no time to lose leaves it: a signal that
/// interrupts the wait is heard all the same, and one that comes just before waits for the next event, as on asyncio.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The loop's own; -1 while signals are not for the thread that runs it.
    own: Cell<RawFd>,
    /// What was there when the last wait began; `None` before the first.
    displaced: Cell<Option<RawFd>>,
    /// A wait has begun, and no inner run has ended it.
    begun: Cell<bool>,
    /// The exchange was made.
    exchanged: Cell<bool>,
    /// When the last wait began, where that is of interest.
    since_ns: Cell<u64>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            own: Cell::new(-1),
            displaced: Cell::new(None),
            begun: Cell::new(false),
            exchanged: Cell::new(false),
            since_ns: Cell::new(0),
        }
    }
}

impl Signals {
    /// Has signals end the waits of a run that begins, through `fd`; -1 for none. Returns what was set before.
    /// For the main thread.
    pub(crate) fn hear(&self, fd: RawFd) -> RawFd {
        self.own.replace(fd)
    }

    /// The program's own descriptor, which the bytes of the last wait were meant for.
    pub(crate) fn displaced(&self) -> Option<RawFd> {
        self.displaced.get()
    }

    /// A wait is about to begin, and a signal from here on ends it.
    #[inline]
    pub(in crate::scheduler) fn begin_to_hear(&self, py: Python<'_>) {
        if self.own.get() < 0 || self.begun.replace(true) {
            return;
        }
        if !IS_CHEAP {
            let now = monotonic_ns();
            if now - self.since_ns.replace(now) < BUSY_NS {
                return;
            }
        }
        // Ignored: the descriptor was closed by a program that closes them all.
        if let Ok(before) = set_wakeup_fd(py, self.own.get()) {
            self.displaced.set(Some(before));
            self.exchanged.set(true);
        }
    }

    /// Whether a wait may begin: signals end it, or are none of its business.
    pub(in crate::scheduler) fn hears(&self) -> bool {
        self.own.get() < 0 || self.begun.get()
    }

    /// The wait is over, or did not begin: what the program has set is there again.
    #[inline]
    pub(in crate::scheduler) fn cease_to_hear(&self, py: Python<'_>) {
        self.begun.set(false);
        if self.exchanged.replace(false) {
            self.put_wakeup_fd_back(py);
        }
    }

    fn put_wakeup_fd_back(&self, py: Python<'_>) {
        let displaced = self.displaced.get().unwrap_or(-1);
        // An error: its owner has closed it in the meantime.
        let found = set_wakeup_fd(py, displaced).or_else(|_| set_wakeup_fd(py, -1));
        if let Ok(found) = found
            && found != self.own.get()
        {
            // A Python-level handler, which ran before the wait, has set it. Ignored, as above.
            let _ = set_wakeup_fd(py, found);
        }
    }

    /// In a forked child, which may have begun in a wait of its parent's.
    pub(super) fn forget(&self) {
        self.own.set(-1);
        self.begun.set(false);
        self.exchanged.set(false);
    }
}

/// From wait to wait: a loop that is quicker is busy. A hundredth of it would pay for the exchange.
const BUSY_NS: u64 = 1_000_000;
