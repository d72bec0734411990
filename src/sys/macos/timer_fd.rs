//! The timer: a kqueue with nothing but a timer in it, which is ready when that has fired.

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

    /// Becomes readable at `deadline_ns` on the monotonic clock, or at once when that is past.
    ///
    /// Replaces what was set before; reading is not needed, setting clears it.
    pub(crate) fn set(&self, deadline_ns: u64) -> io::Result<()> {
        let wait_ns = deadline_ns.saturating_sub(monotonic_ns());
        let mut timer = change(TIMER, libc::EVFILT_TIMER, libc::EV_ADD | libc::EV_ONESHOT);
        // Without the second, the kernel may let it wait for others, for an eighth of its time.
        timer.fflags = libc::NOTE_NSECONDS | libc::NOTE_CRITICAL;
        timer.data = isize::try_from(wait_ns).unwrap_or(isize::MAX);
        // Taken out first: what has fired stays in the queue, as nobody reads it, and only a queue that was empty
        // tells the reactor of what comes in.
        let before = change(TIMER, libc::EVFILT_TIMER, libc::EV_DELETE);
        self.0.change(&[before, timer])
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Any number: it is the only one in its kqueue.
const TIMER: RawFd = 0;
