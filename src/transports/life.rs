//! How far a transport's life has come.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::driver::Registration;
use crate::ffi::Visitor;
use crate::scheduler::Core;
use crate::scheduler::limits::{Look, Overdue};
use crate::scheduler::meters::Meters;
use crate::scheduler::pressure::Level;
use crate::sys::{pipe, socket};
use crate::transports::terms::Terms;
use crate::transports::traffic::Traffic;

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
    /// `connection_lost` runs in the transport's context too, rather than in the one that ended the connection.
    pub(super) keeps_context: Cell<bool>,
    /// Whether the loop's table holds this transport.
    pub(super) attached: Cell<bool>,
    /// Unsent bytes, as the meters have them.
    unsent: Cell<usize>,
    pub(crate) traffic: Traffic,
    pub(crate) terms: Terms,
    /// The loop's.
    pub(crate) meters: Arc<Meters>,
}

impl Life {
    pub(crate) fn new(
        core: &Core,
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
            keeps_context: Cell::new(false),
            attached: Cell::new(false),
            unsent: Cell::new(0),
            traffic: Traffic::default(),
            terms: Terms::default(),
            meters: Arc::clone(&core.shared.meters),
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

    /// Notes for the loop's meters how much waits to be sent.
    #[inline]
    pub(crate) fn note_unsent(&self, size: usize) {
        let before = self.unsent.replace(size);
        if before != size {
            self.meters.buffered_bytes.shift(before, size);
            self.meters.note_buffered();
            if size == 0 && self.meters.pressure.level() == Level::High {
                self.fire_read(); // It may have been held for what it had not sent.
            }
        }
    }

    /// Whether the connection is not to be read yet, since too many bytes wait to be sent. It is fired when they are
    /// fewer.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        let level = self.meters.pressure.level();
        level != Level::None && self.hold(level)
    }

    #[cold]
    fn hold(&self, level: Level) -> bool {
        let holds = level == Level::Full || self.unsent.get() > 0;
        if !holds || !self.terms.is_accepted() {
            return false;
        }
        let registration = self.registration.borrow();
        registration
            .as_ref()
            .is_some_and(|it| self.meters.pressure.wait(it.slot()))
    }

    /// Looks whether the connection has exceeded one of its limits, while the transport `reads` or `sends_file`.
    pub(super) fn look(&self, now: u32, reads: bool, sends_file: bool) -> Look {
        let queued = || socket::queued(self.fd).ok();
        let mut unsent = self.unsent.get();
        if sends_file && unsent == 0 {
            match queued() {
                Some(1..) => unsent = 1,     // And what is left of the file.
                _ => self.terms.resume(now), // The peer waits for the disk.
            }
        }
        let mut look = self.terms.look(&self.traffic, unsent, queued, now);
        let is_silent = matches!(look.overdue, Some(Overdue::FirstByte | Overdue::Idle));
        if is_silent && reads && self.has_unread(unsent) {
            self.terms.resume(now);
            look.overdue = None;
        }
        look
    }

    /// Whether the kernel has bytes of a peer that is not to blame that they were not read: the loop was busy or
    /// stopped, or others have used up the memory.
    #[cold]
    fn has_unread(&self, unsent: usize) -> bool {
        let may_be_held = unsent > 0 && self.meters.pressure.level() != Level::None;
        !may_be_held && pipe::has_input(self.fd).unwrap_or(false)
    }

    /// Notes that the transport is no more.
    pub(super) fn note_end(&self) {
        self.note_unsent(0);
        self.terms.end();
        if let Some(registration) = &*self.registration.borrow() {
            self.meters.pressure.forget(registration.slot());
        }
        self.meters.transports.shift(1, 0);
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
