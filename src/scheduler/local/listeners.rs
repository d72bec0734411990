//! The listening sockets on the reactor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::RawFd;

use crate::driver::Registration;

/// From a listening socket to its registration.
#[derive(Debug, Default)]
pub(crate) struct Listeners(pub(super) RefCell<HashMap<RawFd, Registration>>);

impl Listeners {
    pub(crate) fn contains(&self, fd: RawFd) -> bool {
        let listeners = self.0.borrow();
        // One that a forked child inherits is its parent's to serve.
        listeners.get(&fd).is_some_and(|it| !it.is_inherited())
    }

    /// Nothing more to accept: the reactor tells when there is.
    pub(crate) fn drained(&self, fd: RawFd) {
        if let Some(registration) = self.0.borrow().get(&fd)
            && registration.drained()
        {
            registration.fire_read();
        }
    }

    /// Tells the source of a listening socket, in a coming turn, that `bits` are ready.
    pub(crate) fn fire(&self, fd: RawFd, bits: u8) {
        if let Some(registration) = self.0.borrow().get(&fd) {
            registration.slot().fire(bits);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Takes everything out, for the caller to drop.
    pub(super) fn take(&self) -> HashMap<RawFd, Registration> {
        self.0.take()
    }
}
