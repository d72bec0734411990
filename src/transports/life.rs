//! How far a transport's life has come.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;

use pyo3::prelude::*;

use crate::driver::Registration;
use crate::ffi::Visitor;

/// The phase of a transport's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// `close()` was called or the connection broke; `connection_lost` is still to be called.
    Closing,
    /// `connection_lost` was called and the descriptor is closed.
    Closed,
}

/// Whether the transport reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// `connection_made` is still to be called.
    Unborn,
    On,
    /// `pause_reading()`.
    Paused,
    /// The stream has ended, or the transport is closing.
    Ended,
}

/// The part of a transport's state that its life cycle uses.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) fd: RawFd,
    /// Dropped before the descriptor is closed.
    pub(crate) registration: RefCell<Option<Registration>>,
    pub(crate) protocol: RefCell<Option<Py<PyAny>>>,
    pub(crate) phase: Cell<Phase>,
    /// The context in which `connection_lost` runs.
    pub(super) lost_in: RefCell<Option<Py<PyAny>>>,
    /// Whether the loop's table holds this transport.
    pub(super) attached: Cell<bool>,
}

impl Life {
    pub(crate) fn new(
        fd: RawFd,
        registration: Option<Registration>,
        protocol: &Bound<'_, PyAny>,
    ) -> Self {
        Self {
            fd,
            registration: RefCell::new(registration),
            protocol: RefCell::new(Some(protocol.clone().unbind())),
            phase: Cell::new(Phase::Open),
            lost_in: RefCell::new(None),
            attached: Cell::new(false),
        }
    }

    pub(crate) fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }

    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        let before = self.protocol.replace(Some(protocol.clone().unbind()));
        drop(before);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached.get()
    }

    /// Continues reading in the next pass.
    pub(crate) fn fire_read(&self) {
        if let Some(registration) = &*self.registration.borrow() {
            registration.fire_read();
        }
    }

    /// Arms for reading, and reads in the next pass if data may have arrived.
    pub(crate) fn arm_read(&self) {
        if let Some(registration) = &*self.registration.borrow()
            && registration.arm_read()
        {
            registration.fire_read();
        }
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        for cell in [&self.protocol, &self.lost_in] {
            if let Ok(object) = cell.try_borrow() {
                visitor.option(object.as_ref());
            }
        }
    }
}
