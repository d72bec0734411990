//! The timer: a kqueue that only holds one timer, and is readable once that has fired.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::kqueue::{Kqueue, change};
use crate::sys::clock::monotonic_ns;

/// A one-shot timer on the clock of `time.monotonic()`.
#[derive(Debug)]
pub(crate) struct TimerFd(Kqueue);

impl TimerFd {
    pub(crate) fn new() -> io::Result<Self> {
        Kqueue::new().map(Self)
    }

    /// Becomes readable at `deadline_ns` on the monotonic clock, or at once if that has passed.
    ///
    /// Replaces the previous deadline. The event need not be read: setting a deadline clears it.
    pub(crate) fn set(&self, deadline_ns: u64) -> io::Result<()> {
        let wait_ns = deadline_ns.saturating_sub(monotonic_ns());
        let mut timer = change(TIMER, libc::EVFILT_TIMER, libc::EV_ADD | libc::EV_ONESHOT);
        // Without `NOTE_CRITICAL`, the kernel may delay it by an eighth of its duration to coalesce it with other
        // timers.
        timer.fflags = libc::NOTE_NSECONDS | libc::NOTE_CRITICAL;
        timer.data = isize::try_from(wait_ns).unwrap_or(isize::MAX);
        // Removed first: a fired event stays in the queue, as nothing reads it, and the queue notifies the reactor
        // only when it was empty.
        let before = change(TIMER, libc::EVFILT_TIMER, libc::EV_DELETE);
        self.0.change(&[before, timer])
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Any number works: it is the only timer in its kqueue.
const TIMER: RawFd = 0;
