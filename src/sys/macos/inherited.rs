//! Cleans up what a forked child inherits of a reactor.

use std::os::fd::RawFd;

/// Does nothing: a kqueue is not inherited, and the reactor's waker is an event of its own kqueue.
pub(crate) fn close_sets_that_watch(_fd: RawFd) {}
