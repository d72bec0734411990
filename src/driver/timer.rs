//! The one timer that wakes the reactor at the earliest deadline.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::edge::guarded;
use super::{Direction, Driver, Inside, READ, Registration, Slot};
use crate::sys::clock::{TimerFd, monotonic_ns};
use crate::sys::fork::{self, Generation};

/// A timer on the reactor with the kernel's resolution.
///
/// tokio's own timer ticks in milliseconds, and its poll rounds up again: it fires 1.1 ms late at the median, this
/// one 0.05 ms. It is set only before parking, and only when the earliest deadline has moved earlier, because a stale
/// wake costs less than a system call for each cancelled timer.
///
/// Where a sandbox denies the kernel's timer, tokio's is used; its resolution is that of asyncio's `epoll_wait()`.
#[derive(Debug)]
pub(crate) struct Timer {
    clock: RefCell<Clock>,
    slot: Arc<Slot>,
    inside: Inside,
    made_in: Generation,
    /// The armed deadline, in nanoseconds on the monotonic clock. Cleared by the event, not when the time has passed.
    armed: Cell<Option<u64>>,
}

#[derive(Debug)]
enum Clock {
    // Drop order: deregister first, then close.
    Kernel(Registration, TimerFd),
    Tokio(Pin<Box<Sleep>>),
    /// Forgotten in a forked child.
    Gone,
}

impl Timer {
    /// Creates a timer whose events carry `key`.
    pub(crate) fn new(driver: &Driver, key: u64) -> io::Result<Self> {
        let inside = driver.inside().ok_or_else(super::shut_down)?;
        let (clock, slot) = match kernel_clock(driver, key) {
            Ok((registration, fd)) => {
                let slot = Arc::clone(registration.slot());
                (Clock::Kernel(registration, fd), slot)
            }
            // A sandbox denies it, or no descriptor is left.
            Err(_) => (tokio_clock(&inside), driver.slot(key)),
        };
        Ok(Self {
            clock: RefCell::new(clock),
            slot,
            inside,
            made_in: Generation::current(),
            armed: Cell::new(None),
        })
    }

    /// Fires at `deadline_ns` on the monotonic clock or earlier; later by at most tokio's resolution.
    pub(crate) fn arm(&self, deadline_ns: u64) {
        if self.armed.get().is_some_and(|armed| deadline_ns >= armed) {
            return;
        }
        self.armed.set(Some(deadline_ns));
        let mut clock = self.clock.borrow_mut();
        if let Clock::Kernel(_, fd) = &*clock {
            if fd.set(deadline_ns).is_ok() {
                return;
            }
            // Denied: use tokio's timer from now on.
            *clock = tokio_clock(&self.inside);
        }
        if let Clock::Tokio(sleep) = &mut *clock {
            let left = Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns()));
            let waker = Arc::clone(&self.slot).read_waker();
            let mut context = Context::from_waker(&waker);
            let set = guarded(|| {
                sleep.as_mut().reset(Instant::now() + left);
                sleep.as_mut().poll(&mut context).is_ready()
            });
            // Ignored if it fails: the reactor's descriptors are gone, and the wait that follows returns that error.
            if set.unwrap_or(false) {
                self.slot.fire(READ);
            }
        }
    }

    /// Whether a deadline is set, and its event has not come.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.get().is_some()
    }

    /// Clears the deadline if the event is this timer's.
    pub(crate) fn fired_if(&self, slot: &Slot) {
        if !std::ptr::eq(Arc::as_ptr(&self.slot), slot) {
            return;
        }
        self.armed.set(None);
        if let Clock::Kernel(registration, _) = &*self.clock.borrow()
            && registration.drained()
        {
            registration.fire_read();
        }
    }
}

fn kernel_clock(driver: &Driver, key: u64) -> io::Result<(Registration, TimerFd)> {
    let fd = TimerFd::new()?;
    let registration = driver.register(fd.as_raw_fd(), Direction::Read, key)?;
    registration.arm_read();
    Ok((registration, fd))
}

fn tokio_clock(inside: &Inside) -> Clock {
    Clock::Tokio(inside.call(|| Box::pin(sleep_until(Instant::now()))))
}

/// In a forked child: also closes the parent's reactor, which could only be forgotten.
impl Drop for Timer {
    fn drop(&mut self) {
        if !self.made_in.is_over() {
            return;
        }
        match self.clock.replace(Clock::Gone) {
            Clock::Kernel(registration, fd) => {
                drop(registration);
                fork::close_sets_that_watch(fd.as_raw_fd());
            }
            // Another of the parent's threads may have held the lock of its list during the fork.
            clock => mem::forget(clock),
        }
    }
}
