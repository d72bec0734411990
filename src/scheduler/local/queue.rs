//! What runs in the next pass: callbacks, native calls and events.

use std::collections::VecDeque;

use pyo3::prelude::*;

use super::{Core, Deferred, Local, Ready};
use crate::ffi::handle::Handle;
use crate::ffi::handle_collector;
use crate::ffi::make;

impl Local {
    /// Makes room for one more entry of the queue.
    #[inline]
    pub(super) fn reserve(&self) -> PyResult<()> {
        make_room(&mut self.ready.borrow_mut())
    }

    /// Queues a callback for the next pass.
    #[expect(
        clippy::inline_always,
        reason = "of the methods called most often, the last step"
    )]
    #[inline(always)]
    pub(crate) fn push(&self, handle: Py<Handle>) -> PyResult<()> {
        let mut ready = self.ready.borrow_mut();
        make_room(&mut ready)?;
        ready.push_back(Ready::Handle(handle));
        Ok(())
    }

    /// Queues a callback while the loop does not run. The one before it, if by now the queue alone holds it, is not the
    /// collector's business any more: a hundred thousand of them would be gone over again and again.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(crate) fn push_stopped(&self, py: Python<'_>, handle: Py<Handle>) -> PyResult<()> {
        let mut ready = self.ready.borrow_mut();
        make_room(&mut ready)?;
        if let Some(Ready::Handle(before)) = ready.back() {
            handle_collector::untrack_unless_shared(before.bind(py), 1);
        }
        ready.push_back(Ready::Handle(handle));
        Ok(())
    }

    /// Queues a native call for the next pass.
    pub(crate) fn defer(&self, deferred: Deferred) {
        self.ready
            .borrow_mut()
            .push_back(Ready::Deferred(Box::new(deferred)));
    }

    #[inline]
    pub(in crate::scheduler) fn pop(&self) -> Option<Ready> {
        self.ready.borrow_mut().pop_front()
    }

    /// What Python is shown of an entry: a handle, `True` for a native call, `None` for an event.
    pub(in crate::scheduler) fn show<'py>(
        &self,
        py: Python<'py>,
        index: usize,
    ) -> Bound<'py, PyAny> {
        match self.ready.borrow().get(index) {
            Some(Ready::Handle(handle)) => {
                let handle = handle.bind(py);
                handle_collector::track(handle);
                handle.clone().into_any()
            }
            Some(Ready::Deferred(_)) => make::boolean(py, true),
            Some(Ready::Io(_)) | None => make::none(py),
        }
    }

    /// Brings the first entries of the queue into an order, which has the index of each. One that is missing comes last.
    pub(in crate::scheduler) fn reorder(&self, order: &[usize]) {
        let mut ready = self.ready.borrow_mut();
        let count = order.len().min(ready.len());
        let mut entries: Vec<_> = ready.drain(..count).map(Some).collect();
        let mut sorted: Vec<_> = order
            .iter()
            .filter_map(|index| entries.get_mut(*index)?.take())
            .collect();
        sorted.extend(entries.into_iter().flatten());
        for entry in sorted.into_iter().rev() {
            ready.push_front(entry);
        }
    }

    /// Callbacks and events that wait for their turn.
    #[inline]
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Moves handles that other threads left behind what is queued already.
    #[inline]
    pub(crate) fn take_inbox(&self, core: &Core) {
        if core.shared.inbox.is_filled() {
            self.empty_inbox(core);
        }
    }

    #[cold]
    fn empty_inbox(&self, core: &Core) {
        let mut ready = self.ready.borrow_mut();
        core.shared.inbox.take(|handles| {
            // Without memory, those that there is room for: the others wait for the next pass.
            let room = match ready.try_reserve(handles.len()) {
                Ok(()) => handles.len(),
                Err(_) => (ready.capacity() - ready.len()).min(handles.len()),
            };
            ready.extend(handles.drain(..room).map(Ready::Handle));
        });
    }

    /// Queues what the reactor found ready; whether watched descriptors are among it, which their set has to queue.
    pub(in crate::scheduler) fn take_ready_io(&self) -> bool {
        let mut watched = false;
        if !self.ready_list.is_empty() {
            let mut ready = self.ready.borrow_mut();
            self.ready_list.drain(|slot| {
                if slot.key() == self.watchers_key {
                    slot.take();
                    watched = true;
                } else if ready.try_reserve(1).is_ok() {
                    ready.push_back(Ready::Io(slot));
                } else {
                    // No memory: back on the list, for the next pass.
                    slot.queue();
                }
            });
        }
        watched
    }
}

/// Makes room for one more entry.
#[inline]
fn make_room(ready: &mut VecDeque<Ready>) -> PyResult<()> {
    if ready.len() < ready.capacity() {
        Ok(())
    } else {
        grow(ready)
    }
}

#[cold]
#[inline(never)]
fn grow(ready: &mut VecDeque<Ready>) -> PyResult<()> {
    ready.try_reserve(1).map_err(make::no_memory)
}
