//! A transport's flow control, and what it tells the protocol.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;

use super::flow_control::{FlowControl, Tell};
use super::lifecycle::{Life, Transport};
use super::members::{Marks, pair};
use super::protocol;
use crate::ffi::{Visitor, data, name};
use crate::scheduler::pressure::Level;
use crate::sys::socket;

/// Pauses the protocol when too much waits to be sent, and resumes it when little does.
#[derive(Debug)]
pub(crate) struct Flow {
    control: Cell<FlowControl>,
    /// `(low, high)` as passed to `set_write_buffer_limits`.
    marks: RefCell<Option<Py<PyAny>>>,
    strained: Cell<bool>,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self {
            control: Cell::new(FlowControl::new()),
            marks: RefCell::new(None),
            strained: Cell::new(false),
        }
    }

    /// In bytes: more than this pauses the protocol.
    #[inline]
    pub(crate) fn high(&self) -> usize {
        self.control.get().high()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.control.get().is_paused()
    }

    /// `set_write_buffer_limits`. The caller passes the size to [`Flow::grown`] afterwards.
    pub(super) fn set(&self, marks: Marks<'_>) -> PyResult<()> {
        let (high, low) = marks.floors()?;
        let before = self.marks.replace(Some(marks.into_pair()?));
        drop(before);
        let mut control = self.control.get();
        control.set(high, low);
        self.control.set(control);
        Ok(())
    }

    /// `get_write_buffer_limits`.
    pub(super) fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let control = self.control.get();
        pair(py, &self.marks, (control.low(), control.high()))
    }

    /// Bytes were queued; `size` is how many wait now.
    pub(crate) fn grown<T: Transport>(
        &self,
        this: &Bound<'_, T>,
        life: &Life,
        size: usize,
    ) -> PyResult<()> {
        life.note_unsent(size);
        let mut control = self.control.get();
        let is_pressed = life.meters.pressure.level() != Level::None && life.terms.is_accepted();
        let what = control.grown(size, is_pressed);
        self.control.set(control);
        if life.meters.pressure.take_risen() {
            let core = data(this).core().bind(this.py());
            core.call_method0(name!(this.py(), "_watch_pressure"))?;
        }
        what.map_or(Ok(()), |what| tell(this, life, what))
    }

    /// While too many bytes wait over all transports: pauses the protocol of an accepted connection for which the
    /// kernel holds many, since the next ones would have to wait here.
    #[cold]
    pub(crate) fn strain<T: Transport>(&self, this: &Bound<'_, T>, life: &Life) -> PyResult<()> {
        let is_slow = || socket::unsent(life.fd).is_ok_and(|unsent| unsent > STRAINED);
        if self.is_paused() || !life.is_open() || !life.terms.is_accepted() || !is_slow() {
            return Ok(());
        }
        let mut control = self.control.get();
        control.pause();
        self.control.set(control);
        self.strained.set(true);
        tell(this, life, Tell::Pause)
    }

    /// Resumes a protocol that [`Flow::strain`] has paused, once the kernel holds less, or the pressure is over.
    /// `size` bytes wait here.
    pub(crate) fn relieve<T: Transport>(
        &self,
        this: &Bound<'_, T>,
        life: &Life,
        size: usize,
    ) -> PyResult<()> {
        let is_over = || {
            life.meters.pressure.level() == Level::None
                || socket::unsent(life.fd).map_or(true, |unsent| unsent <= RELIEVED)
        };
        if !self.is_strained() || (size == 0 && !is_over()) {
            return Ok(());
        }
        self.strained.set(false);
        if size > 0 {
            return Ok(()); // It wrote more; what sends that resumes it.
        }
        self.shrunk(this, life, 0)
    }

    /// Whether the protocol was paused although nothing waits here.
    pub(crate) fn is_strained(&self) -> bool {
        self.strained.get()
    }

    /// Bytes were sent; `size` is how many still wait.
    #[inline]
    pub(crate) fn shrunk<T: Transport>(
        &self,
        this: &Bound<'_, T>,
        life: &Life,
        size: usize,
    ) -> PyResult<()> {
        life.note_unsent(size);
        let mut control = self.control.get();
        if !control.is_paused() {
            return Ok(());
        }
        let what = control.shrunk(size);
        self.control.set(control);
        what.map_or(Ok(()), |what| tell(this, life, what))
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        if let Ok(marks) = self.marks.try_borrow() {
            visitor.option(marks.as_ref());
        }
    }
}

#[cold]
fn tell<T: Transport>(this: &Bound<'_, T>, life: &Life, what: Tell) -> PyResult<()> {
    let py = this.py();
    let Some(protocol) = life.protocol(py) else {
        return Ok(());
    };
    protocol::tell(data(this).core().bind(py), this.as_any(), &protocol, what)
}

/// In bytes: with more in the kernel, not sent yet, a peer counts as slow; with less, it does no more.
const STRAINED: u32 = 64 * 1024;
const RELIEVED: u32 = 16 * 1024;
