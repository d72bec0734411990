//! macOS: kqueue for the set and for the timer, and no calls for many datagrams at once.

pub(super) mod bell;
mod datagrams;
mod futex;
mod inherited;
mod kqueue;
mod poller;
mod socket;
mod thread;
mod timer_fd;

pub(crate) use datagrams::{receive_many, send_many};
pub(crate) use futex::{wait_while, wake_all};
pub(crate) use inherited::close_sets_that_watch;
pub(crate) use poller::Poller;
pub(crate) use socket::{accept, queued, stream_socket, unix_path, unsent, waiting};
pub(crate) use thread::{check_memory_file, current_thread, scheduled, signal_thread};
pub(crate) use timer_fd::TimerFd;

/// Whether the reactor's set returns `EEXIST` for a descriptor number that it already has. A kqueue lets the second
/// registration take over the events of the first.
pub(crate) const REFUSES_WATCHED: bool = false;

/// Whether the kernel reports that more data follows a short read of a stream. kqueue has no event for the urgent
/// mark, and a call that discards descriptors does not report it.
pub(crate) const TELLS_OF_STOPS: bool = false;

/// The clock of `time.monotonic()`, which is `mach_absolute_time()`: it stops while the machine sleeps.
/// `CLOCK_MONOTONIC` is a different clock.
pub(crate) const MONOTONIC: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
