//! Cleans up what a forked child inherits of a reactor.

use std::os::fd::RawFd;

/// Does nothing: a kqueue is not inherited, and the one that wakes the reactor is the reactor's own.
pub(crate) fn close_sets_that_watch(_fd: RawFd) {}
