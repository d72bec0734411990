//! What came in through the capsule: things to poll, and calls to make.

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

/// Something to poll, by the functions that its maker gave.
///
/// # Invariant
///
/// `data` is alive until `drop` was called, which happens to an adopted one only. Unless `flags` has `ANY_THREAD`, both functions are called on `home` only.
pub(crate) struct Pollable {
    data: *mut c_void,
    functions: abi::PollableFunctions,
    flags: u32,
    home: usize,
    /// Until then it is the caller's of `spawn`, who keeps it where anything fails.
    adopted: bool,
}

// SAFETY: `poll` and `drop` look at the thread before they touch `data`; what may be touched by any
// thread says so in `flags`. `&mut self` and ownership keep uses apart.
unsafe impl Send for Pollable {}

/// A waker, lent for the length of a poll.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LentWaker<'a> {
    raw: *const abi::Waker,
    lifetime: PhantomData<&'a ()>,
}

impl LentWaker<'_> {
    /// # Safety
    ///
    /// `raw` is what the table's waker functions take, alive for `'a`.
    pub(crate) unsafe fn new(raw: *const abi::Waker) -> Self {
        Self {
            raw,
            lifetime: PhantomData,
        }
    }
}

/// Pollables that have not been dropped. Relaxed: a count, for tests and the curious.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// How many pollables there are.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

impl Pollable {
    /// # Safety
    ///
    /// `functions` are those of `data`, as the header describes them, and `data` is given up once this is adopted.
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

    /// Nothing can fail any more: from now on what it points at is ours to drop.
    pub(crate) fn adopt(&mut self) {
        self.adopted = true;
    }

    /// Whether it may be polled and dropped on this thread.
    pub(crate) fn is_at_home(&self, py: Python<'_>) -> bool {
        self.flags & abi::ANY_THREAD != 0 || current_thread(py) == self.home
    }

    /// Whether it wants to be polled inside the loop's runtime.
    pub(crate) fn wants_runtime(&self) -> bool {
        self.flags & abi::INSIDE_RUNTIME != 0
    }

    /// Polls once; an error too is an end. Must be at home, and must not be polled after its end.
    pub(crate) fn poll<'py>(
        &mut self,
        py: Python<'py>,
        waker: LentWaker<'_>,
    ) -> Poll<PyResult<Bound<'py, PyAny>>> {
        if !self.is_at_home(py) {
            return Poll::Ready(Err(PySystemError::new_err("polled on a foreign thread")));
        }
        let mut result = ptr::null_mut();
        // SAFETY: attached, at home, alive; the waker is alive for the call and `result` writable.
        let answer = unsafe { (self.functions.poll)(self.data, waker.raw, &raw mut result) };
        match answer {
            abi::PENDING => Poll::Pending,
            abi::READY if !result.is_null() => {
                // SAFETY: a new reference, as the answer says.
                Poll::Ready(Ok(unsafe { owned(py, result) }))
            }
            _ => Poll::Ready(Err(PyErr::take(py).unwrap_or_else(|| {
                PySystemError::new_err("a pollable failed without setting an exception")
            }))),
        }
    }
}

impl Drop for Pollable {
    /// One that was not adopted stays the caller's. On a foreign thread what must not be dropped there is leaked, as PyO3
    /// does with its `unsendable` classes.
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
        // Ignored when the interpreter is gone: nothing can be dropped then.
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

/// A call to make on the loop's thread, or to call off: one of the two happens.
pub(crate) struct Completion {
    data: *mut c_void,
    callback: abi::Callback,
}

// SAFETY: the header has submitters hand over data that another thread may take.
unsafe impl Send for Completion {}

impl Completion {
    /// # Safety
    ///
    /// `callback` is that of `data`, as the header describes it, and `data` is given up.
    pub(super) unsafe fn new(data: *mut c_void, callback: abi::Callback) -> Self {
        Self { data, callback }
    }

    /// It was refused: the caller goes on owning what it points at.
    pub(super) fn give_back(self) {
        std::mem::forget(self);
    }

    /// Makes the call. On the loop's thread.
    pub(crate) fn run(self, _py: Python<'_>) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: attached, on the loop's thread; called once, since this is not dropped.
        unsafe { (this.callback)(this.data, abi::OK) };
    }
}

impl Drop for Completion {
    /// The loop was closed first.
    fn drop(&mut self) {
        // SAFETY: by whoever, as the header says of this status; called once.
        unsafe { (self.callback)(self.data, abi::CLOSED) };
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Completion").finish_non_exhaustive()
    }
}
