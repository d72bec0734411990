//! Releases the GIL while the loop waits.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;

/// Detaches the loop's thread from Python while the reactor waits.
///
/// The two hooks run on the thread inside `block_on`, which was attached when it entered. Between them nothing on
/// that thread may touch Python; the wakers that run there only touch Rust memory.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    /// The result of `PyEval_SaveThread`, null while attached. Only the one thread that runs the loop reads and
    /// writes this, so no ordering is needed.
    saved: AtomicPtr<ffi::PyThreadState>,
}

impl Parking {
    /// Detaches, so that other Python threads can run.
    pub(crate) fn detach(&self) {
        // SAFETY: the thread inside `block_on` is attached here: it was when it entered, and every earlier `detach`
        // was followed by its `attach`.
        let state = unsafe { ffi::PyEval_SaveThread() };
        self.saved.store(state, Ordering::Relaxed);
    }

    /// Waits until this thread is attached again.
    pub(crate) fn attach(&self) {
        let state = self.saved.swap(ptr::null_mut(), Ordering::Relaxed);
        if !state.is_null() {
            // SAFETY: the last `detach` saved `state` on this thread, and it has not been restored since.
            unsafe { ffi::PyEval_RestoreThread(state) };
        }
    }
}
