//! Linux: epoll, timerfd, and calls for many datagrams at once.

pub(super) mod bell;
mod datagrams;
mod event_fd;
mod futex;
mod inherited;
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

/// Whether the reactor's set returns `EEXIST` for a descriptor number that it already has.
pub(crate) const REFUSES_WATCHED: bool = true;

/// Whether the kernel reports that more data follows a short read of a stream.
pub(crate) const TELLS_OF_STOPS: bool = true;

/// The clock of `time.monotonic()`.
pub(crate) const MONOTONIC: libc::clockid_t = libc::CLOCK_MONOTONIC;
