//! The one timer that wakes the reactor for the earliest deadline.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::{Direction, Driver, Registration, Slot};
use crate::sys::clock::TimerFd;
use crate::sys::fork;

/// A timer on the reactor with the kernel's resolution.
///
/// tokio's own timer ticks in milliseconds and its poll rounds up again: alone it fires 1.1 ms late at
/// the median, this one 0.05. It is set only before parking, and only when the earliest deadline moved earlier: a
/// wake that turns out stale is cheaper than a system call for each cancelled timer.
#[derive(Debug)]
pub(crate) struct Timer {
    // Dropped in this order: off the reactor first, then closed.
    registration: Registration,
    fd: TimerFd,
    /// What will fire, in nanoseconds on the monotonic clock; emptied by the event, not by the time.
    armed: Cell<Option<u64>>,
}

impl Timer {
    /// A timer whose events carry `key`.
    pub(crate) fn new(driver: &Driver, key: u64) -> io::Result<Self> {
        let fd = TimerFd::new()?;
        let registration = driver.register(fd.as_raw_fd(), Direction::Read, key)?;
        registration.arm_read();
        Ok(Self {
            registration,
            fd,
            armed: Cell::new(None),
        })
    }

    /// Fires at `deadline_ns` on the monotonic clock or earlier, never later.
    pub(crate) fn arm(&self, deadline_ns: u64) -> io::Result<()> {
        if self.armed.get().is_none_or(|armed| deadline_ns < armed) {
            self.fd.set(deadline_ns)?;
            self.armed.set(Some(deadline_ns));
        }
        Ok(())
    }

    /// If the event is this timer's: nothing is armed any more.
    pub(crate) fn fired_if(&self, slot: &Slot) {
        if !std::ptr::eq(Arc::as_ptr(self.registration.slot()), slot) {
            return;
        }
        self.armed.set(None);
        if self.registration.drained() {
            self.registration.fire_read();
        }
    }
}

/// In a forked child: closes the parent's reactor too, which could only be forgotten.
impl Drop for Timer {
    fn drop(&mut self) {
        if self.registration.is_inherited() {
            fork::close_sets_that_watch(self.fd.as_raw_fd());
        }
    }
}
