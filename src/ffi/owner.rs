//! State that belongs to one thread at a time.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
#[cfg(Py_GIL_DISABLED)]
use std::ptr;
#[cfg(Py_GIL_DISABLED)]
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::PyVisit;
use pyo3::prelude::*;

use crate::sys::fork::ForkNotice;

/// The thread that a loop and everything on it belong to.
///
/// While the loop runs, that is the running thread. Otherwise a thread that calls in owns it for the length of the
/// call.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    /// `threading.get_ident()` of the owning thread, 0 for none. Acquire on entering and Release on leaving order one
    /// thread's accesses to the state before the next one's.
    thread: AtomicUsize,
    /// The number of [`Entered`] and [`Running`] that keep `thread` set; they may be dropped in any order. They stay
    /// on the owning thread, so no other thread writes this.
    holds: AtomicUsize,
    /// Whether the loop runs. `thread` then stays set for long, so other threads do not wait for it. Only the owner
    /// writes it.
    running: AtomicBool,
    forks: ForkNotice,
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

    /// Makes the calling thread the one that runs the loop. Returns `None` if it runs already.
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
        self.hold();
        Some(Running {
            owner: self,
            not_send: PhantomData,
        })
    }

    /// In a forked child, on its only thread: a loop that ran on another thread does not run any more.
    ///
    /// Returns `false` and does nothing unless this is the first call in a child. Python's hook makes that call right
    /// after the fork; any later one could take the loop away from a live thread.
    pub(crate) fn forked(&self, py: Python<'_>) -> bool {
        if !self.forks.is_news() {
            return false;
        }
        if self.thread.load(Ordering::Relaxed) != current_thread(py) {
            self.holds.store(0, Ordering::Relaxed);
            self.thread.store(0, Ordering::Relaxed);
            self.running.store(false, Ordering::Relaxed);
        }
        true
    }

    /// Enters until [`Owner::let_go`]. Returns `false` if another thread runs the loop.
    #[cfg(Py_GIL_DISABLED)]
    fn enter(&self, py: Python<'_>) -> bool {
        let me = current_thread(py);
        loop {
            if self.thread.load(Ordering::Relaxed) == me {
                break;
            }
            if self.running.load(Ordering::Acquire) {
                return false;
            }
            let exchange =
                self.thread
                    .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed);
            if exchange.is_ok() {
                break;
            }
            // SAFETY: may be called from any thread at any time.
            if unsafe { pyo3::ffi::Py_IsFinalizing() } != 0 {
                // A daemon thread may have stopped for good inside a call.
                return false;
            }
            py.detach(std::thread::yield_now);
        }
        self.hold();
        true
    }

    /// Adds one hold of the owning thread.
    fn hold(&self) {
        let holds = self.holds.load(Ordering::Relaxed);
        self.holds.store(holds + 1, Ordering::Relaxed);
    }

    /// Removes one hold of the owning thread; the last one releases the ownership.
    fn let_go(&self) {
        let left = self.holds.load(Ordering::Relaxed) - 1;
        self.holds.store(left, Ordering::Relaxed);
        if left == 0 {
            self.thread.store(0, Ordering::Release);
        }
    }
}

/// The loop runs on this thread until this is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    owner: &'a Owner,
    not_send: PhantomData<*const ()>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.owner.let_go();
        self.owner.running.store(false, Ordering::Release);
    }
}

/// A value that only the owning thread may use.
///
/// Two methods give a reference to it: `enter`, to the owning thread, and `while_stopped`, to the collector.
pub(crate) struct OwnerCell<T> {
    /// The first owner that it was entered with; it is entered with no other. The address identifies it: an `Entered`
    /// borrows its owner, so no other owner can have that address meanwhile.
    #[cfg(Py_GIL_DISABLED)]
    owner: AtomicPtr<Owner>,
    value: T,
}

// SAFETY: no two threads use the value at once, and each sees what the one before it did; `T: Send` allows one thread
// after another to use it.
//
// With the GIL, the GIL is the lock. `enter` needs `Python<'_>`, and `while_stopped` needs a traversal: both run
// attached. A thread that detaches while it has a reference does not use it until it is attached again:
// `Python::detach` rejects a reference to a type that is not `Sync`, and `Parking` detaches inside `Driver::look`,
// which only uses the driver's memory.
//
// Without the GIL, `enter` admits the thread that the cell's one owner belongs to. It belongs to that thread as long
// as there is an `Entered`, which stays on that thread. The owner's Acquire and Release order one thread's uses
// before the next one's. During a traversal, all other threads are stopped (see `Stopped`).
unsafe impl<T: Send> Sync for OwnerCell<T> {}

impl<T> OwnerCell<T> {
    /// Wraps a value that no owner has entered yet.
    pub(crate) fn new(value: T) -> Self {
        Self {
            #[cfg(Py_GIL_DISABLED)]
            owner: AtomicPtr::new(ptr::null_mut()),
            value,
        }
    }

    /// The value. `None` if another thread is using it, or if it belongs to another owner (free-threaded builds
    /// only).
    #[inline]
    #[cfg_attr(
        not(Py_GIL_DISABLED),
        expect(clippy::unnecessary_wraps, reason = "the other build may fail")
    )]
    pub(crate) fn enter<'a>(&'a self, py: Python<'a>, owner: &'a Owner) -> Option<Entered<'a, T>> {
        #[cfg(Py_GIL_DISABLED)]
        if !owner.enter(py) {
            return None;
        }
        #[cfg(not(Py_GIL_DISABLED))]
        let _ = (py, owner);
        let entered = Entered {
            value: &self.value,
            #[cfg(Py_GIL_DISABLED)]
            owner,
            not_send: PhantomData,
        };
        #[cfg(Py_GIL_DISABLED)]
        if !self.belongs_to(owner) {
            return None;
        }
        Some(entered)
    }

    /// The value, for the collector: every other thread is stopped, and this thread may be at any point.
    ///
    /// So a `RefCell` in it may be borrowed already, and the caller must not change reference counts.
    pub(crate) fn while_stopped<'a>(&'a self, _witness: Stopped<'a>) -> &'a T {
        &self.value
    }

    /// Whether `owner` is the cell's owner; the first one becomes it.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    fn belongs_to(&self, owner: &Owner) -> bool {
        let given = ptr::from_ref(owner).cast_mut();
        let known = self.owner.load(Ordering::Relaxed);
        known == given || (known.is_null() && self.adopt(given))
    }

    #[cfg(Py_GIL_DISABLED)]
    #[cold]
    fn adopt(&self, given: *mut Owner) -> bool {
        let order = Ordering::Relaxed;
        let adopted = (self.owner).compare_exchange(ptr::null_mut(), given, order, order);
        adopted.map_or_else(|found| found == given, |_| true)
    }
}

/// Does not show the value, which may belong to another thread.
impl<T> fmt::Debug for OwnerCell<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OwnerCell").finish_non_exhaustive()
    }
}

/// The calling thread is the owner until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a, T> {
    value: &'a T,
    #[cfg(Py_GIL_DISABLED)]
    owner: &'a Owner,
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(Py_GIL_DISABLED)]
        self.owner.let_go();
    }
}

/// Proof that the collector is visiting objects: it exists only inside `tp_traverse`.
///
/// The interpreter traverses while it is attached, and on free-threaded builds while the world is stopped; this holds
/// for the collector and for `gc.get_referents`. Every other thread is then detached, or inside a call of the
/// interpreter that may detach. None is in the middle of an access to a cell's value, unless it has borrowed a
/// `RefCell`, whose borrow flag shows that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped<'a>(PhantomData<(&'a (), *const ())>);

impl Stopped<'_> {
    /// # Safety
    ///
    /// Must be called inside a `tp_traverse` that lasts for the proof's lifetime.
    pub(super) unsafe fn inside_traverse() -> Self {
        Self(PhantomData)
    }
}

impl<'a> From<&'a PyVisit<'_>> for Stopped<'a> {
    fn from(_visit: &'a PyVisit<'_>) -> Self {
        // SAFETY: PyO3 only creates a `PyVisit` for a `tp_traverse`, which it does not outlive.
        unsafe { Self::inside_traverse() }
    }
}

/// `threading.get_ident()` of the calling thread.
pub(crate) fn current_thread(_py: Python<'_>) -> usize {
    // SAFETY: may be called from any attached thread, and cannot fail.
    let ident = unsafe { pyo3::ffi::PyThread_get_thread_ident() };
    usize::try_from(ident).unwrap_or(usize::MAX)
}
