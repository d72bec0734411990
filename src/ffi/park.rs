//! The GIL while the loop waits.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;

/// Detaches the loop's thread from Python while the reactor really parks.
///
/// The two hooks run on the thread inside `block_on`, which entered attached: between them nothing
/// on that thread may touch Python, and the wakers that run there touch Rust memory only.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    /// What `PyEval_SaveThread` returned, null while attached. One thread at a time runs a loop, and
    /// only that thread reads or writes this, so no ordering is needed.
    saved: AtomicPtr<ffi::PyThreadState>,
}

impl Parking {
    /// Lets other Python threads run.
    pub(crate) fn detach(&self) {
        // SAFETY: the thread inside `block_on` is attached here: it was when it entered, and every
        // `detach` before this one was followed by its `attach`.
        let state = unsafe { ffi::PyEval_SaveThread() };
        self.saved.store(state, Ordering::Relaxed);
    }

    /// Waits until Python may be used again.
    pub(crate) fn attach(&self) {
        let state = self.saved.swap(ptr::null_mut(), Ordering::Relaxed);
        if !state.is_null() {
            // SAFETY: `state` is this thread's own, saved by the `detach` before, and not restored since.
            unsafe { ffi::PyEval_RestoreThread(state) };
        }
    }
}
