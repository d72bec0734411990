//! Deallocates objects that hold each other in chains of any length.
//!
//! Dropping the first of a hundred thousand handles, each an argument of the one before, would otherwise need as many
//! stack frames. Since Python 3.14 the interpreter limits this depth for every class. Before, each deallocator must:
//! beyond a certain depth it postpones objects, and the outermost deep deallocator frees them.

use pyo3::ffi;

/// How one object is freed whose count has dropped to zero.
pub(super) type Free = unsafe fn(*mut ffi::PyObject);

pub(super) use limited::deallocate;

#[cfg(Py_3_14)]
mod limited {
    use pyo3::ffi;

    /// Frees the object.
    ///
    /// # Safety
    ///
    /// The conditions of `free` hold.
    #[inline]
    pub(in crate::ffi) unsafe fn deallocate(object: *mut ffi::PyObject, free: super::Free) {
        // SAFETY: guaranteed by the caller.
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

    /// Nested deallocators before the thread's own depth is checked, and again as many before further objects are
    /// postponed. CPython's own limit is 50, with frames about half as large.
    const MOST: usize = 20;

    /// Frees the object now, or after enough of the deallocators in progress on this thread have ended.
    ///
    /// # Safety
    ///
    /// The thread is attached; `object` has the collector's head and no references left, and meets the conditions of
    /// `free`.
    #[inline]
    pub(in crate::ffi) unsafe fn deallocate(object: *mut ffi::PyObject, free: Free) {
        #[cfg(not(Py_GIL_DISABLED))]
        if NESTED.get() < MOST {
            NESTED.set(NESTED.get() + 1);
            // SAFETY: guaranteed by the caller.
            unsafe { free(object) };
            // Others may have started and ended in between.
            NESTED.set(NESTED.get() - 1);
            return;
        }
        // SAFETY: guaranteed by the caller.
        unsafe { deep(object, free) };
    }

    /// Deallocators in progress on all threads: while there are few, no thread can be deep.
    #[cfg(not(Py_GIL_DISABLED))]
    struct Nested(UnsafeCell<usize>);

    // SAFETY: `get` and `set` are only called while attached, and the GIL admits one thread.
    #[cfg(not(Py_GIL_DISABLED))]
    unsafe impl Sync for Nested {}

    #[cfg(not(Py_GIL_DISABLED))]
    static NESTED: Nested = Nested(UnsafeCell::new(0));

    #[cfg(not(Py_GIL_DISABLED))]
    impl Nested {
        fn get(&self) -> usize {
            // SAFETY: attached (see above), and it is not borrowed.
            unsafe { self.0.get().read() }
        }

        fn set(&self, nested: usize) {
            // SAFETY: attached (see above), and it is not borrowed.
            unsafe { self.0.get().write(nested) };
        }
    }

    /// Objects that wait for the outermost deallocator.
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
    /// The same as for `deallocate`.
    #[cold]
    unsafe fn deep(object: *mut ffi::PyObject, free: Free) {
        let depth = DEPTH.get();
        // SAFETY: guaranteed by the caller.
        if depth >= MOST && unsafe { put_off(object, free) } {
            return;
        }
        DEPTH.set(depth + 1);
        // SAFETY: guaranteed by the caller.
        unsafe { free(object) };
        while depth == 0
            && let Some(Later {
                object,
                free,
                tracked,
            }) = next()
        {
            if tracked {
                // SAFETY: untracked when it was postponed, and complete.
                unsafe { ffi::PyObject_GC_Track(object.cast()) };
            }
            // SAFETY: unchanged since it was postponed: nothing refers to it.
            unsafe { free(object) };
        }
        DEPTH.set(depth);
    }

    /// Postpones the object. Returns `false` if there is no memory for that, or if the thread is ending and its list
    /// is gone.
    ///
    /// # Safety
    ///
    /// The same as for `deallocate`; after `true`, the object belongs to this thread's `LATER`.
    unsafe fn put_off(object: *mut ffi::PyObject, free: Free) -> bool {
        let put_off = LATER.try_with(|later| {
            let mut later = later.borrow_mut();
            if later.try_reserve(1).is_err() {
                return false;
            }
            // SAFETY: memory of an object with the collector's head, as the caller guarantees.
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
