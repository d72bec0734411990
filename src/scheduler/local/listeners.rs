//! The listening sockets on the reactor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::RawFd;

use super::Local;
use crate::driver::Registration;

/// From a listening socket to its registration.
#[derive(Debug, Default)]
pub(crate) struct Listeners(RefCell<HashMap<RawFd, Registration>>);

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

    /// Has a listening socket accept in a coming turn.
    pub(crate) fn fire(&self, fd: RawFd) {
        if let Some(registration) = self.0.borrow().get(&fd) {
            registration.fire_read();
        }
    }

    /// In a forked child: has its own reactor watch them.
    pub(super) fn renew(&self, local: &Local) {
        for registration in self.0.borrow().values() {
            local.renew_registration(registration);
            registration.fire_read();
        }
    }

    /// Takes everything out, for the caller to drop.
    pub(super) fn take(&self) -> HashMap<RawFd, Registration> {
        self.0.take()
    }
}

impl Local {
    /// Keeps a listening socket's registration until [`Local::remove_listener`].
    pub(crate) fn add_listener(&self, fd: RawFd, registration: Registration) {
        let before = self.listeners.0.borrow_mut().insert(fd, registration);
        if let Some(before) = before {
            self.detach(&before);
        }
    }

    /// Takes a listening socket off the reactor; `false` when it was not there.
    pub(crate) fn remove_listener(&self, fd: RawFd) -> bool {
        let registration = self.listeners.0.borrow_mut().remove(&fd);
        if let Some(registration) = &registration {
            self.detach(registration);
        }
        registration.is_some()
    }
}
