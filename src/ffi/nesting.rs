//! Deallocators of objects that hold each other, in chains of any length.
//!
//! Dropping the first of a hundred thousand handles, each an argument of the one before, would take as many frames of
//! the stack. Since Python 3.14 the interpreter sees to that for every class. Before, each deallocator has to: it
//! stops after some depth, and what is left is freed by the outermost one that went deep.

use pyo3::ffi;

/// Frees one object, whose count has dropped to zero.
pub(super) type Free = unsafe fn(*mut ffi::PyObject);

pub(super) use limited::deallocate;

#[cfg(Py_3_14)]
mod limited {
    use pyo3::ffi;

    /// Frees the object.
    ///
    /// # Safety
    ///
    /// As `free` asks.
    #[inline]
    pub(in crate::ffi) unsafe fn deallocate(object: *mut ffi::PyObject, free: super::Free) {
        // SAFETY: the caller's.
        unsafe { free(object) };
    }
}

#[cfg(not(Py_3_14))]
mod limited {
    #[cfg(not(Py_GIL_DISABLED))]
    use std::cell::UnsafeCell;
    use std::cell::{Cell, RefCell};

    use pyo3::ffi;

    use super::Free;

    /// Deallocators inside one another before the thread's own depth is looked at, and then again as many before what
    /// follows must wait. CPython's own limit is 50, for frames about half as large as ours.
    const MOST: usize = 20;

    /// Frees the object now, or once enough of those are done that are under way on this thread.
    ///
    /// # Safety
    ///
    /// Attached; `object` has the collector's head and no references left, and is what `free` asks for.
    #[inline]
    pub(in crate::ffi) unsafe fn deallocate(object: *mut ffi::PyObject, free: Free) {
        #[cfg(not(Py_GIL_DISABLED))]
        if NESTED.get() < MOST {
            NESTED.set(NESTED.get() + 1);
            // SAFETY: the caller's.
            unsafe { free(object) };
            // Others may have come and gone in between.
            NESTED.set(NESTED.get() - 1);
            return;
        }
        // SAFETY: the caller's.
        unsafe { deep(object, free) };
    }

    /// Deallocators under way on all threads: as long as they are few, no thread can be deep.
    #[cfg(not(Py_GIL_DISABLED))]
    struct Nested(UnsafeCell<usize>);

    // SAFETY: `get` and `set` are called while attached only: the GIL admits one thread.
    #[cfg(not(Py_GIL_DISABLED))]
    unsafe impl Sync for Nested {}

    #[cfg(not(Py_GIL_DISABLED))]
    static NESTED: Nested = Nested(UnsafeCell::new(0));

    #[cfg(not(Py_GIL_DISABLED))]
    impl Nested {
        fn get(&self) -> usize {
            // SAFETY: attached (see above), and nothing borrows it.
            unsafe { self.0.get().read() }
        }

        fn set(&self, nested: usize) {
            // SAFETY: attached (see above), and nothing borrows it.
            unsafe { self.0.get().write(nested) };
        }
    }

    /// What waits for the outermost deallocator.
    struct Later {
        object: *mut ffi::PyObject,
        free: Free,
        tracked: bool,
    }

    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
        static LATER: RefCell<Vec<Later>> = const { RefCell::new(Vec::new()) };
    }

    /// # Safety
    ///
    /// As `deallocate`.
    #[cold]
    unsafe fn deep(object: *mut ffi::PyObject, free: Free) {
        let depth = DEPTH.get();
        // SAFETY: the caller's.
        if depth >= MOST && unsafe { put_off(object, free) } {
            return;
        }
        DEPTH.set(depth + 1);
        // SAFETY: the caller's.
        unsafe { free(object) };
        while depth == 0
            && let Some(Later {
                object,
                free,
                tracked,
            }) = next()
        {
            if tracked {
                // SAFETY: untracked when it was put off, and complete.
                unsafe { ffi::PyObject_GC_Track(object.cast()) };
            }
            // SAFETY: as it was when it was put off: nothing refers to it.
            unsafe { free(object) };
        }
        DEPTH.set(depth);
    }

    /// `false` where there is no memory for it, or the thread's own is gone because it ends.
    ///
    /// # Safety
    ///
    /// As `deallocate`; after `true`, the object is this thread's `LATER`.
    unsafe fn put_off(object: *mut ffi::PyObject, free: Free) -> bool {
        let put_off = LATER.try_with(|later| {
            let mut later = later.borrow_mut();
            if later.try_reserve(1).is_err() {
                return false;
            }
            // SAFETY: the caller's: memory of an object with the collector's head.
            let tracked = unsafe { ffi::PyObject_GC_IsTracked(object) } != 0;
            if tracked {
                // The collector must not find an object without references.
                // SAFETY: as above.
                unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
            }
            later.push(Later {
                object,
                free,
                tracked,
            });
            true
        });
        put_off.unwrap_or(false)
    }

    fn next() -> Option<Later> {
        LATER.try_with(|later| later.borrow_mut().pop()).ok()?
    }
}
