//! The timer: a timerfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::call::syscall;
use crate::sys::clock::NANOS_PER_SECOND;

/// A one-shot timer on the clock of `time.monotonic()`.
#[derive(Debug)]
pub(crate) struct TimerFd(OwnedFd);

impl TimerFd {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        let fd = syscall!(timerfd_create(super::MONOTONIC, flags))?;
        // SAFETY: the call above created this descriptor, and no other code has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Becomes readable at `deadline_ns` on the monotonic clock, or at once if that has passed.
    ///
    /// Replaces the previous deadline. The event need not be read: setting a deadline clears it.
    pub(crate) fn set(&self, deadline_ns: u64) -> io::Result<()> {
        // All zeroes would disarm it.
        let deadline_ns = deadline_ns.max(1);
        let new = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(deadline_ns / NANOS_PER_SECOND)
                    .unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::try_from(deadline_ns % NANOS_PER_SECOND).unwrap_or(0),
            },
        };
        let flags = libc::TFD_TIMER_ABSTIME;
        let fd = self.0.as_raw_fd();
        syscall!(timerfd_settime(
            fd,
            flags,
            &raw const new,
            std::ptr::null_mut()
        ))?;
        Ok(())
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
