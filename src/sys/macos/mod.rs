//! macOS: kqueue for the set and for the timer, and no call that takes many of anything.

mod datagrams;
mod inherited;
mod kqueue;
mod poller;
mod socket;
mod timer_fd;

pub(crate) use datagrams::{receive_many, send_many};
pub(crate) use inherited::close_sets_that_watch;
pub(crate) use poller::Poller;
pub(crate) use socket::{accept, unix_path};
pub(crate) use timer_fd::TimerFd;

/// Whether the reactor's set refuses a number that it has: a kqueue lets the second registration take the
/// first one's events.
pub(crate) const REFUSES_WATCHED: bool = false;

/// Whether the kernel tells of more behind a short read of a stream: kqueue knows no urgent mark, and a call that
/// throws descriptors away says nothing of it.
pub(crate) const TELLS_OF_STOPS: bool = false;

/// The clock of `time.monotonic()`, that is `mach_absolute_time()`: it stands still while the machine sleeps.
/// `CLOCK_MONOTONIC` is another one.
pub(crate) const MONOTONIC: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
