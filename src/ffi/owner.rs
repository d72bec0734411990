//! State that belongs to one thread at a time.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::prelude::*;

/// The thread that a loop and everything on it belong to.
///
/// While the loop runs, that is the running thread. Otherwise whoever calls in owns it for the call.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    /// `threading.get_ident()` of the thread inside, 0 for nobody. Acquire on entering and Release
    /// on leaving hand the state from one thread to the next.
    thread: AtomicUsize,
    /// The loop runs: `thread` stays for long, so nobody waits for it. Written by the owner only.
    running: AtomicBool,
}

impl Owner {
    /// The thread that runs the loop, or `None` while it does not run.
    pub(crate) fn running_thread(&self) -> Option<usize> {
        self.running
            .load(Ordering::Acquire)
            .then(|| self.thread.load(Ordering::Relaxed))
    }

    /// Whether the calling thread is the one that runs the loop.
    pub(crate) fn is_running_here(&self, py: Python<'_>) -> bool {
        self.running.load(Ordering::Relaxed)
            && self.thread.load(Ordering::Relaxed) == current_thread(py)
    }

    /// Makes the calling thread the one that runs the loop; `None` when it runs already.
    pub(crate) fn run(&self, py: Python<'_>) -> Option<Running<'_>> {
        let (before, after) = (Ordering::AcqRel, Ordering::Acquire);
        self.running
            .compare_exchange(false, true, before, after)
            .ok()?;
        let me = current_thread(py);
        while self.thread.load(Ordering::Relaxed) != me
            && self
                .thread
                .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            py.detach(std::thread::yield_now);
        }
        Some(Running { owner: self })
    }

    /// In a forked child, on its only thread: a loop that ran on another thread does not run any more.
    pub(crate) fn forked(&self, py: Python<'_>) {
        if self.thread.load(Ordering::Relaxed) != current_thread(py) {
            self.thread.store(0, Ordering::Relaxed);
            self.running.store(false, Ordering::Relaxed);
        }
    }

    /// Enters for the length of a call; `None` when another thread runs the loop.
    #[cfg(Py_GIL_DISABLED)]
    fn enter(&self, py: Python<'_>) -> Option<bool> {
        let me = current_thread(py);
        loop {
            let thread = self.thread.load(Ordering::Relaxed);
            if thread == me {
                return Some(false);
            }
            if self.running.load(Ordering::Acquire) {
                return None;
            }
            let exchange =
                self.thread
                    .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed);
            if exchange.is_ok() {
                return Some(true);
            }
            // SAFETY: may be called from any thread at any time.
            if unsafe { pyo3::ffi::Py_IsFinalizing() } != 0 {
                // A daemon thread may have stopped for good inside of a call.
                return None;
            }
            py.detach(std::thread::yield_now);
        }
    }
}

/// The loop runs on this thread until this is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    owner: &'a Owner,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.owner.thread.store(0, Ordering::Release);
        self.owner.running.store(false, Ordering::Release);
    }
}

/// A value that only the owning thread may use.
///
/// With the GIL, the GIL is the lock: a reference lives only while attached, and `T`'s own cells are
/// never borrowed across a call that could let another thread in. Without it, [`Owner`] is.
#[derive(Debug)]
pub(crate) struct OwnerCell<T>(T);

// SAFETY: the value is reached through `enter` alone, which needs `Python<'_>`. With the GIL, that
// serialises every use; free-threaded builds admit one thread at a time by `Owner`, whose
// Acquire/Release pair orders one thread's uses before the next one's. `T: Send` lets them move.
unsafe impl<T: Send> Sync for OwnerCell<T> {}

impl<T> OwnerCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, or `None` when it is at work on another thread (free-threaded builds only).
    #[inline]
    #[cfg_attr(
        not(Py_GIL_DISABLED),
        expect(clippy::unnecessary_wraps, reason = "the other build may fail")
    )]
    pub(crate) fn enter<'a>(&'a self, py: Python<'a>, owner: &'a Owner) -> Option<Entered<'a, T>> {
        #[cfg(Py_GIL_DISABLED)]
        let leave = owner.enter(py)?.then_some(owner);
        #[cfg(not(Py_GIL_DISABLED))]
        let (_, leave) = (py, {
            let _ = owner;
            None
        });
        Some(Entered {
            value: &self.0,
            leave,
        })
    }

    /// The value while no thread can be inside: the collector has stopped them all, or it is the last.
    ///
    /// For `tp_traverse`, which must not touch Python's reference counts, and for the only thread of a forked child.
    pub(crate) fn while_stopped(&self) -> &T {
        &self.0
    }

    /// The value, for a caller that is inside another cell of the same owner.
    pub(crate) fn inside(&self) -> &T {
        &self.0
    }
}

/// The calling thread is the owner until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a, T> {
    value: &'a T,
    leave: Option<&'a Owner>,
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(owner) = self.leave {
            owner.thread.store(0, Ordering::Release);
        }
    }
}

/// `threading.get_ident()` of the calling thread.
pub(crate) fn current_thread(_py: Python<'_>) -> usize {
    // SAFETY: may be called from any thread, and has no failure for one that is attached.
    let ident = unsafe { pyo3::ffi::PyThread_get_thread_ident() };
    usize::try_from(ident).unwrap_or(usize::MAX)
}
