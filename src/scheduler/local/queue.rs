//! What runs in the next pass: callbacks, native calls and events.

use pyo3::prelude::*;

use super::{Core, Deferred, Local, Ready};
use crate::ffi::handle::Handle;
#[cfg(not(Py_GIL_DISABLED))]
use crate::ffi::handle_collector;

impl Local {
    /// Queues a callback for the next pass.
    #[inline]
    pub(crate) fn push(&self, handle: Py<Handle>) {
        self.ready.borrow_mut().push_back(Ready::Handle(handle));
    }

    /// Queues a callback while the loop does not run. The one before it, if by now nobody else holds it, is not the
    /// collector's business any more: a hundred thousand of them would be gone over again and again.
    #[cfg(not(Py_GIL_DISABLED))]
    pub(crate) fn push_stopped(&self, py: Python<'_>, handle: Py<Handle>) {
        let mut ready = self.ready.borrow_mut();
        if let Some(Ready::Handle(before)) = ready.back() {
            handle_collector::untrack_unless_shared(before.bind(py), 1);
        }
        ready.push_back(Ready::Handle(handle));
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
        let handles = core.shared.inbox.take();
        self.ready
            .borrow_mut()
            .extend(handles.into_iter().map(Ready::Handle));
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
                } else {
                    ready.push_back(Ready::Io(slot));
                }
            });
        }
        watched
    }
}
