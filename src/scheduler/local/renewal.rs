//! A loop in a forked child: what was the parent's is forgotten, and made anew when it is needed.

use std::sync::Arc;

use pyo3::prelude::*;

use super::deadlines::make_timer;
use super::{Local, Ready, make_driver};
use crate::driver::{Driver, Registration};
use crate::errors::os_error;
use crate::scheduler::core::closed;
use crate::scheduler::source::WRITE;

impl Local {
    /// The reactor, which a forked child makes anew.
    pub(in crate::scheduler) fn driver(&self) -> PyResult<Arc<Driver>> {
        let driver = self.driver.borrow().clone().ok_or_else(closed)?;
        if driver.is_inherited() {
            self.renew()
        } else {
            Ok(driver)
        }
    }

    /// Whether the reactor, the timer and the watched set are still the parent's.
    #[inline]
    pub(in crate::scheduler) fn is_inherited(&self) -> bool {
        self.driver
            .borrow()
            .as_ref()
            .is_some_and(|driver| driver.is_inherited())
    }

    /// In a forked child: forgets the parent's reactor, and makes one that watches what this loop did.
    #[cold]
    fn renew(&self) -> PyResult<Arc<Driver>> {
        self.forget_ready_io();
        // All that may fail comes first: until it succeeds, the next who asks tries again.
        let driver = make_driver(&self.ready_list, &self.meters)?;
        let timer = make_timer(&driver)?;
        let served = !self.forked_while_running.get();
        if let Some(set) = &mut *self.watched.borrow_mut() {
            // The parent's set is left alone: this one is empty, or has all that is watched.
            set.rebuild(&driver, served).map_err(os_error)?;
        }
        let inherited = self.driver.replace(Some(Arc::clone(&driver)));
        let inherited = (inherited, self.deadlines.renew(timer));
        drop(inherited);
        if served {
            let sources: Vec<_> = self.sources.borrow().iter().cloned().collect();
            Python::attach(|py| sources.iter().for_each(|source| source.renew(py, self)));
            self.renew_listeners();
        }
        Ok(driver)
    }

    /// In a forked child: has its own reactor watch the listening sockets.
    fn renew_listeners(&self) {
        for registration in self.listeners.0.borrow().values() {
            self.renew_registration(registration);
            registration.fire_read();
        }
    }

    /// What a source does to be renewed: its registration is on the child's reactor, and armed.
    pub(crate) fn revive(&self, registration: Option<&Registration>) {
        let Some(registration) = registration else {
            return;
        };
        self.renew_registration(registration);
        if registration.arm_read() {
            registration.fire_read();
        }
        if registration.filled() {
            registration.slot().fire(WRITE);
        }
    }

    /// In a forked child: has the new reactor watch what the parent's did.
    pub(super) fn renew_registration(&self, registration: &Registration) {
        if registration.is_inherited()
            && let Ok(driver) = self.driver()
        {
            // Ignored: the kernel cannot watch it any more, so no event will come.
            let _ = driver.renew(registration);
        }
    }

    /// This is a forked child, and the only thread in it: nothing of the loop may reach the parent.
    /// `running`: a thread, perhaps this one, ran the loop.
    pub(in crate::scheduler) fn forked(&self, running: bool) {
        self.forget_ready_io();
        self.signals.forget();
        self.forked_while_running.set(running);
    }

    /// What the parent's reactor found is for the parent to read.
    fn forget_ready_io(&self) {
        self.ready_list.renew();
        self.ready.borrow_mut().retain(|entry| match entry {
            Ready::Io(slot) => {
                slot.take();
                false
            }
            Ready::Handle(_) | Ready::Deferred(_) => true,
        });
    }
}
