//! What extensions pass through the capsule: objects to poll, and calls to make.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use yamanote_client::abi;

use super::owner::current_thread;
use super::reference::owned;

/// An object that is polled through the functions that its creator passed.
///
/// # Invariant
///
/// `data` is alive until `drop` was called, which only happens to an adopted one. Unless `flags` has `ANY_THREAD`,
/// both functions are called on `home` only.
pub(crate) struct Pollable {
    data: *mut c_void,
    functions: abi::PollableFunctions,
    flags: u32,
    home: usize,
    /// Until it is adopted, it belongs to the caller of `spawn`, who keeps it if anything fails.
    adopted: bool,
}

// SAFETY: `poll` and `drop` check the thread before they touch `data`, unless `flags` says that any thread may. `&mut
// self` and ownership prevent concurrent uses.
unsafe impl Send for Pollable {}

/// A waker that is lent for the length of a poll.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LentWaker<'a> {
    raw: *const abi::Waker,
    lifetime: PhantomData<&'a ()>,
}

impl LentWaker<'_> {
    /// # Safety
    ///
    /// `raw` points at what the table's waker functions take, and is alive for `'a`.
    pub(crate) unsafe fn new(raw: *const abi::Waker) -> Self {
        Self {
            raw,
            lifetime: PhantomData,
        }
    }
}

/// The number of pollables that have not been dropped. Relaxed: a count for tests and diagnostics.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The number of pollables that have not been dropped.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

impl Pollable {
    /// # Safety
    ///
    /// `functions` belong to `data`, as the header describes, and the caller gives `data` up once this is adopted.
    pub(super) unsafe fn new(
        py: Python<'_>,
        data: *mut c_void,
        functions: abi::PollableFunctions,
        flags: u32,
    ) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self {
            data,
            functions,
            flags,
            home: current_thread(py),
            adopted: false,
        }
    }

    /// Takes ownership of `data`, once nothing can fail any more.
    pub(crate) fn adopt(&mut self) {
        self.adopted = true;
    }

    /// Whether it may be polled and dropped on this thread.
    pub(crate) fn is_at_home(&self, py: Python<'_>) -> bool {
        self.flags & abi::ANY_THREAD != 0 || current_thread(py) == self.home
    }

    /// Whether it must be polled inside the loop's runtime.
    pub(crate) fn wants_runtime(&self) -> bool {
        self.flags & abi::INSIDE_RUNTIME != 0
    }

    /// Polls once; an error also ends it. Must be called at home, and not again after its end.
    pub(crate) fn poll<'py>(
        &mut self,
        py: Python<'py>,
        waker: LentWaker<'_>,
    ) -> Poll<PyResult<Bound<'py, PyAny>>> {
        if !self.is_at_home(py) {
            return Poll::Ready(Err(PySystemError::new_err("polled on a foreign thread")));
        }
        let mut result = ptr::null_mut();
        // SAFETY: attached, at home, alive; the waker is alive for the call, and `result` is writable.
        let answer = unsafe { (self.functions.poll)(self.data, waker.raw, &raw mut result) };
        match answer {
            abi::PENDING => Poll::Pending,
            abi::READY if !result.is_null() => {
                // SAFETY: a new reference, as this status guarantees.
                Poll::Ready(Ok(unsafe { owned(py, result) }))
            }
            _ => Poll::Ready(Err(PyErr::take(py).unwrap_or_else(|| {
                PySystemError::new_err("a pollable failed without setting an exception")
            }))),
        }
    }
}

impl Drop for Pollable {
    /// If it was not adopted, it still belongs to the caller. On a foreign thread, one that must not be dropped there
    /// is leaked, as PyO3 does with its `unsendable` classes.
    fn drop(&mut self) {
        if !self.adopted {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let release = |py: Python<'_>| {
            if self.is_at_home(py) {
                LIVE.fetch_sub(1, Ordering::Relaxed);
                // SAFETY: attached, at home, alive; never used again.
                unsafe { (self.functions.drop)(self.data) };
            }
        };
        // Ignored if the interpreter is gone: nothing can be dropped then.
        let _ = Python::try_attach(release);
    }
}

impl fmt::Debug for Pollable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pollable")
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// A call that is either made on the loop's thread or cancelled, exactly once.
pub(crate) struct Completion {
    data: *mut c_void,
    callback: abi::Callback,
}

// SAFETY: the header requires of submitters that another thread may take the data.
unsafe impl Send for Completion {}

impl Completion {
    /// # Safety
    ///
    /// `callback` belongs to `data`, as the header describes, and the caller gives `data` up.
    pub(super) unsafe fn new(data: *mut c_void, callback: abi::Callback) -> Self {
        Self { data, callback }
    }

    /// Called if it is refused: the submitter still owns the data.
    pub(super) fn give_back(self) {
        std::mem::forget(self);
    }

    /// Makes the call; on the loop's thread only.
    pub(crate) fn run(self, _py: Python<'_>) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: attached, on the loop's thread; called once, since `this` is not dropped.
        unsafe { (this.callback)(this.data, abi::OK) };
    }
}

impl Drop for Completion {
    /// The loop was closed first.
    fn drop(&mut self) {
        // SAFETY: the header allows any thread to call with this status; called once.
        unsafe { (self.callback)(self.data, abi::CLOSED) };
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Completion").finish_non_exhaustive()
    }
}
