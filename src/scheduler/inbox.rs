//! Handles from other threads.

#[cfg(Py_GIL_DISABLED)]
use std::sync::atomic::fence;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::meters::Meters;
use super::visit::Visit;
use crate::driver::ReadyList;
use crate::ffi::handle::Handle;
use crate::ffi::make;

/// The queue of `call_soon_threadsafe`.
///
/// A sender pushes first, then wakes. A wake from another thread writes to a descriptor, so it is sent only if the
/// loop has announced that it is about to wait; after that announcement, the loop checks the queue once more
/// (`park`).
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    handles: Mutex<Vec<Py<Handle>>>,
    /// The queue is not empty. Written under the lock, read without it.
    filled: AtomicBool,
    /// The loop waits or is about to. With `filled`, Dekker's algorithm: each side stores its flag, then loads the
    /// other's.
    parked: AtomicBool,
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
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.try_reserve(1).map_err(make::no_memory)?;
        handles.push(handle);
        self.filled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Wakes the loop if it waits. Callable from any thread that is attached to Python.
    #[inline]
    pub(crate) fn wake(&self) {
        // With the GIL, no fence is needed: the loop releases the GIL only after `park`.
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.ready.wake_turn();
            let wakeups = &self.meters.threadsafe_wakeups;
            wakeups.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Lets `take` remove queued handles, in order; what it leaves stays queued.
    pub(crate) fn take(&self, take: impl FnOnce(&mut Vec<Py<Handle>>)) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut handles);
        self.filled.store(!handles.is_empty(), Ordering::Relaxed);
        if handles.is_empty() {
            // Bursts are rare, so free their memory.
            *handles = Vec::new();
        }
    }

    /// Announces that the loop is about to wait; `false` when it must not, because handles are queued.
    pub(crate) fn park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        if self.is_filled() {
            self.parked.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Whether the loop has not been woken since `park`.
    pub(crate) fn is_parked(&self) -> bool {
        // tokio may discard a wake sent before `block_on` polls. Its sender has already cleared `parked`; this load
        // must see that.
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed)
    }

    /// To be called after the wait.
    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Visits what is held for the garbage collector. If the lock is taken, a thread was stopped inside `push`; the
    /// handles then count as reachable.
    pub(crate) fn objects(&self, visit: Visit<'_>) {
        if let Ok(handles) = self.handles.try_lock() {
            handles.iter().for_each(|handle| visit(handle.as_any()));
        }
    }
}
