//! Handles from other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use super::mailbox::Mailbox;
use super::meters::Meters;
use super::visit::Visit;
use crate::driver::ReadyList;
use crate::ffi::handle::Handle;
use crate::ffi::make;

/// The queue of `call_soon_threadsafe`.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    handles: Mailbox<Py<Handle>>,
    ready: Arc<ReadyList>,
    meters: Arc<Meters>,
}

impl Inbox {
    pub(crate) fn new(ready: Arc<ReadyList>, meters: Arc<Meters>) -> Self {
        Self {
            ready,
            meters,
            ..Self::default()
        }
    }

    /// Queues a handle; `wake` must follow. Callable from any thread.
    pub(crate) fn push(&self, handle: Py<Handle>) -> PyResult<()> {
        self.handles.push(handle).map_err(make::no_memory)
    }

    /// Wakes the loop if it waits. Callable from any thread that is attached to Python.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.handles.must_wake() {
            if !self.ready.wake_turn() {
                self.handles.wake_again();
            }
            let wakeups = &self.meters.threadsafe_wakeups;
            wakeups.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.handles.is_filled()
    }

    /// Lets `take` remove queued handles, in order; what it leaves stays queued.
    pub(crate) fn take(&self, take: impl FnOnce(&mut Vec<Py<Handle>>)) {
        self.handles.take(take);
    }

    /// Announces that the loop is about to wait; `false` when it must not, because handles are queued.
    pub(crate) fn park(&self) -> bool {
        self.handles.park()
    }

    /// Whether the loop has not been woken since `park`.
    pub(crate) fn is_parked(&self) -> bool {
        self.handles.is_parked()
    }

    /// To be called after the wait.
    pub(crate) fn unpark(&self) {
        self.handles.unpark();
    }

    /// Visits what is held for the garbage collector. If the lock is taken, a thread was stopped inside `push`; the
    /// handles then count as reachable.
    pub(crate) fn objects(&self, visit: Visit<'_>) {
        self.handles.peek(|handle| visit(handle.as_any()));
    }
}
