//! Handles from other threads.

#[cfg(Py_GIL_DISABLED)]
use std::sync::atomic::fence;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::visit::Visit;
use crate::driver::ReadyList;
use crate::ffi::handle::Handle;
use crate::ffi::make;

/// Where `call_soon_threadsafe` leaves its handles.
///
/// Push first, then wake: a foreign wake writes to a descriptor, so it is made only when the loop
/// said that it is about to wait. Saying so and looking once more is the other half (`park`).
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    handles: Mutex<Vec<Py<Handle>>>,
    /// There are handles. Written under the lock; read without it.
    filled: AtomicBool,
    /// The loop waits, or is about to. With `filled` a pair in Dekker's manner: each side writes its own, then reads the other's.
    parked: AtomicBool,
    ready: Arc<ReadyList>,
}

impl Inbox {
    pub(crate) fn new(ready: Arc<ReadyList>) -> Self {
        Self {
            ready,
            ..Self::default()
        }
    }

    /// Leaves a handle; `wake` must follow. From any thread.
    pub(crate) fn push(&self, handle: Py<Handle>) -> PyResult<()> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.try_reserve(1).map_err(make::no_memory)?;
        handles.push(handle);
        self.filled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Wakes the loop if it waits. From any thread, attached.
    #[inline]
    pub(crate) fn wake(&self) {
        // With the GIL, that orders the two sides: the loop lets go of it only after `park`.
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.ready.wake_turn();
        }
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Has `take` move what was left since the last time, in order; what it leaves stays.
    pub(crate) fn take(&self, take: impl FnOnce(&mut Vec<Py<Handle>>)) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut handles);
        self.filled.store(!handles.is_empty(), Ordering::Relaxed);
        if handles.is_empty() {
            // Many at once are rare: their memory is not kept.
            *handles = Vec::new();
        }
    }

    /// Says that the loop is about to wait; `false` when it must not, because something has come.
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

    /// Whether nobody has woken the loop since `park`.
    pub(crate) fn is_parked(&self) -> bool {
        // A wake that the runtime forgot when it began to look came from a thread that had taken the
        // mark back before: it must be seen here.
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed)
    }

    /// The wait is over.
    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Shows the collector what is held. A lock that is taken belongs to a thread that is stopped
    /// inside `push`; what it holds counts as reachable then.
    pub(crate) fn objects(&self, visit: Visit<'_>) {
        if let Ok(handles) = self.handles.try_lock() {
            handles.iter().for_each(|handle| visit(handle.as_any()));
        }
    }
}
