//! What callbacks write and transports gather, sent when the callback is over.

use std::mem;

use pyo3::prelude::*;

use super::{Core, Local, contain};

/// A transport with bytes to send at the end of the callback that wrote them.
#[derive(Debug)]
pub(crate) struct Flush {
    pub(crate) target: Py<PyAny>,
    pub(crate) run: fn(&Bound<'_, PyAny>) -> PyResult<()>,
}

impl Local {
    /// Has `flush` called when the callback that runs is over.
    pub(crate) fn flush_later(&self, flush: Flush) {
        self.flushes.borrow_mut().push(flush);
    }

    /// The number of the callback that runs: a transport knows by it a second write of the same one.
    #[inline]
    pub(crate) fn callback(&self) -> u64 {
        self.callback.get()
    }

    /// Whether new transports gather what a callback writes.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers.get()
    }

    /// What a transport has learned about its protocol.
    pub(crate) fn set_gathers(&self, gathers: bool) {
        self.gathers.set(gathers);
    }

    /// A callback, a task's step or a protocol's method has returned: what it wrote is sent.
    #[inline]
    pub(crate) fn callback_over(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        self.callback.set(self.callback.get() + 1);
        if self.flushes.borrow().is_empty() {
            Ok(())
        } else {
            self.flush(core)
        }
    }

    /// Sends what was written since the last time; all of it, also when one of them ends the run.
    #[cold]
    pub(crate) fn flush(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        let mut result = Ok(());
        while !self.flushes.borrow().is_empty() {
            let mut batch = mem::take(&mut *self.flushes.borrow_mut());
            for flush in batch.drain(..) {
                let target = flush.target.into_bound(core.py());
                let sent = contain(core, Some(&target), (flush.run)(&target));
                result = result.and(sent);
            }
            let mut flushes = self.flushes.borrow_mut();
            if flushes.is_empty() {
                *flushes = batch; // Keeps the allocation.
            }
        }
        result
    }
}
