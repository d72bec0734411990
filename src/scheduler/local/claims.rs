//! The descriptors of live transports.

use std::cell::RefCell;
use std::os::fd::RawFd;

use crate::scheduler::numbers::NumberSet;

/// Descriptors that transports own: others must not watch them.
#[derive(Debug, Default)]
pub(crate) struct Claims(RefCell<NumberSet>);

impl Claims {
    /// A transport owns `fd` from now on.
    pub(crate) fn claim(&self, fd: RawFd) {
        self.0.borrow_mut().insert(fd);
    }

    /// The transport is closing, or `fd` no longer its own.
    pub(crate) fn release(&self, fd: RawFd) {
        self.0.borrow_mut().remove(&fd);
    }

    /// Whether a transport owns `fd`.
    pub(crate) fn contains(&self, fd: RawFd) -> bool {
        self.0.borrow().contains(&fd)
    }

    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
