//! A run inside a callback of the same loop, as `nest_asyncio` has it.

use std::mem;
use std::sync::Arc;

use pyo3::prelude::*;

use super::{Local, Ready};
use crate::driver::Slot;
use crate::ffi::handle::Handle;
use crate::scheduler::source::Source;
use crate::scheduler::visit::Visit;

/// A run is inside another until this is dropped.
pub(in crate::scheduler) struct Nested<'a>(&'a Local);

impl Local {
    #[inline]
    pub(in crate::scheduler) fn is_nested(&self) -> bool {
        self.nesting.depth.get() > 0
    }

    /// A run begins inside a callback of another one.
    pub(in crate::scheduler) fn nest(&self) -> Nested<'_> {
        self.nesting.depth.set(self.nesting.depth.get() + 1);
        Nested(self)
    }

    /// Keeps a handle back until the run that is going on is over.
    pub(in crate::scheduler) fn hold_back(&self, handle: Py<Handle>) {
        self.nesting.handles.borrow_mut().push(handle);
    }

    /// As `deliver`, in an inner run. A source that is at it already gets no event, but is told when the run is over: it
    /// works in a context that cannot be entered twice, and asyncio's would fail.
    #[cold]
    pub(super) fn deliver_nested(
        &self,
        slot: Arc<Slot>,
        ready: u8,
        handle: impl FnOnce(&dyn Source, u8) -> PyResult<()>,
    ) -> PyResult<()> {
        if self.is_at_it(&slot) {
            self.nesting.events.borrow_mut().push((slot, ready));
            return Ok(());
        }
        let source = self.sources.borrow().get(slot.key());
        let Some(source) = source else {
            return Ok(());
        };
        let entry = (slot, Arc::clone(&source));
        self.nesting.busy.borrow_mut().push(entry);
        let result = handle(&*source, ready);
        self.nesting.busy.borrow_mut().pop();
        result
    }

    /// Whether the source of a slot handles an event in a run further out.
    fn is_at_it(&self, slot: &Arc<Slot>) -> bool {
        let (current, busy) = (self.current.borrow(), self.nesting.busy.borrow());
        let mut all = current.iter().chain(&*busy);
        all.any(|(other, _)| Arc::ptr_eq(other, slot))
    }

    /// Shows the collector what is kept back.
    pub(super) fn held_back(&self, visit: Visit<'_>) {
        if let Ok(handles) = self.nesting.handles.try_borrow() {
            handles.iter().for_each(|handle| visit(handle.as_any()));
        }
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        let nesting = &self.0.nesting;
        nesting.depth.set(nesting.depth.get() - 1);
        // What happened meanwhile to those that are at it is not known: they read and write until the kernel says that
        // there is no more. In a run that is further in than theirs, that is passed over again.
        for (slot, ready) in mem::take(&mut *nesting.events.borrow_mut()) {
            slot.fire(ready);
        }
        let (current, busy) = (self.0.current.borrow(), nesting.busy.borrow());
        for (slot, source) in current.iter().chain(&*busy) {
            slot.fire(source.again());
        }
        drop((current, busy));
        let handles = mem::take(&mut *nesting.handles.borrow_mut());
        let mut queue = self.0.ready.borrow_mut();
        for handle in handles.into_iter().rev() {
            queue.push_front(Ready::Handle(handle));
        }
    }
}
