//! When what transports gather is sent.

use std::mem;

use pyo3::prelude::*;

use super::gathering::Flush;
use super::{Core, Local};
use crate::scheduler::contain::contain;
use crate::scheduler::tracer::Kind;

impl Local {
    /// Has `flush` called when the callback that runs is over.
    pub(crate) fn flush_later(&self, flush: Flush) {
        self.gathering.flushes.borrow_mut().push(flush);
    }

    /// The number of the callback that runs: a transport knows by it a second write of the same one.
    #[inline]
    pub(crate) fn callback(&self) -> u64 {
        self.gathering.callback.get()
    }

    /// Whether new transports gather what a callback writes.
    pub(crate) fn gathers(&self) -> bool {
        self.gathering.is_worth_it.get()
    }

    /// What a transport has learned about its protocol.
    pub(crate) fn set_gathers(&self, gathers: bool) {
        self.gathering.is_worth_it.set(gathers);
    }

    /// A callback, a task's step or a protocol's method has returned: what it wrote is sent.
    #[inline]
    pub(crate) fn callback_over(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        let gathering = &self.gathering;
        gathering.callback.set(gathering.callback.get() + 1);
        if gathering.flushes.borrow().is_empty() {
            Ok(())
        } else {
            self.flush(core)
        }
    }

    /// Sends what was written since the last time; all of it, also when one of them ends the run.
    #[cold]
    pub(crate) fn flush(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        let this = core.get();
        let _slice =
            (this.is_traced()).then(|| this.shared.tracer.slice(core.py(), Kind::Send, None));
        let all = &self.gathering.flushes;
        let mut result = Ok(());
        while !all.borrow().is_empty() {
            let mut batch = mem::take(&mut *all.borrow_mut());
            for flush in batch.drain(..) {
                let target = flush.target.into_bound(core.py());
                let sent = contain(core, Some(&target), (flush.run)(&target));
                result = result.and(sent);
            }
            let mut flushes = all.borrow_mut();
            if flushes.is_empty() {
                *flushes = batch; // Keeps the allocation.
            }
        }
        result
    }
}
