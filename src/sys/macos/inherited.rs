//! What a forked child has of a reactor that it had to forget.

use std::os::fd::RawFd;

/// Nothing is left to close: a kqueue is not inherited, and the one that wakes the reactor is its own.
pub(crate) fn close_sets_that_watch(_fd: RawFd) {}
