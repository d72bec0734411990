//! The one timer that wakes the reactor for the earliest deadline.

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
/// tokio's own timer ticks in milliseconds and its poll rounds up again: alone it fires 1.1 ms late at
/// the median, this one 0.05. It is set only before parking, and only when the earliest deadline moved earlier: a
/// wake that turns out stale is cheaper than a system call for each cancelled timer.
///
/// Where a sandbox denies the kernel's timer, tokio's is used: its resolution is that of asyncio's `epoll_wait()`.
#[derive(Debug)]
pub(crate) struct Timer {
    clock: RefCell<Clock>,
    slot: Arc<Slot>,
    inside: Inside,
    made_in: Generation,
    /// What will fire, in nanoseconds on the monotonic clock; emptied by the event, not by the time.
    armed: Cell<Option<u64>>,
}

#[derive(Debug)]
enum Clock {
    // Dropped in this order: off the reactor first, then closed.
    Kernel(Registration, TimerFd),
    Tokio(Pin<Box<Sleep>>),
    /// A forked child has forgotten it.
    Gone,
}

impl Timer {
    /// A timer whose events carry `key`.
    pub(crate) fn new(driver: &Driver, key: u64) -> io::Result<Self> {
        let inside = driver.inside().ok_or_else(super::shut_down)?;
        let (clock, slot) = match kernel_clock(driver, key) {
            Ok((registration, fd)) => {
                let slot = Arc::clone(registration.slot());
                (Clock::Kernel(registration, fd), slot)
            }
            // Denied, or no descriptor is left.
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

    /// Fires at `deadline_ns` on the monotonic clock or earlier; later by tokio's resolution at most.
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
            // Denied: it is given up.
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
            // Ignored where it fails: the reactor has no descriptors left, and the wait that follows says so.
            if set.unwrap_or(false) {
                self.slot.fire(READ);
            }
        }
    }

    /// If the event is this timer's: nothing is armed any more.
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

/// In a forked child: closes the parent's reactor too, which could only be forgotten.
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
            // Another thread of the parent's may have been at its list, lock in hand.
            clock => mem::forget(clock),
        }
    }
}
