//! Memory blocks for handles.

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::handle_fields::HandleKind;
pub(super) use kept::{allocate, give_back};

/// Keeps freed blocks for later handles. The GIL is the lock.
#[cfg(not(Py_GIL_DISABLED))]
mod kept {
    use std::cell::UnsafeCell;

    use pyo3::ffi;
    use pyo3::prelude::*;

    use crate::ffi::class;
    use crate::ffi::handle_fields::{HandleKind, PLAIN, TIMER};

    struct FreeList(UnsafeCell<Vec<*mut ffi::PyObject>>);

    // SAFETY: only the two functions below use it, and they run attached: the GIL admits one thread, and neither
    // function calls anything that could release it while the list is borrowed.
    unsafe impl Sync for FreeList {}

    static PLAINS: FreeList = FreeList(UnsafeCell::new(Vec::new()));
    static TIMERS: FreeList = FreeList(UnsafeCell::new(Vec::new()));
    static THREAD_SAFES: FreeList = FreeList(UnsafeCell::new(Vec::new()));

    /// Blocks kept of each kind, at most 5 MiB: as many handles as a thread queues in a burst before it must release
    /// the GIL. Further blocks go back to the allocator.
    const KEPT: usize = 32_768;

    /// Returns a block with an object's head and zeroes up to our fields, not tracked yet.
    #[inline]
    pub(in crate::ffi) fn allocate(
        py: Python<'_>,
        kind: HandleKind,
    ) -> PyResult<*mut ffi::PyObject> {
        let list = match kind {
            HandleKind::Plain => &PLAINS,
            HandleKind::Timer => &TIMERS,
            HandleKind::ThreadSafe => &THREAD_SAFES,
        };
        // SAFETY: attached, and no other borrow of the list is alive (see `FreeList`).
        if let Some(object) = unsafe { &mut *list.0.get() }.pop() {
            // SAFETY: a block of this very class, whose reference to the class it kept; this sets the count to one.
            unsafe { _Py_NewReference(object) };
            return Ok(object);
        }
        super::allocate_zeroed(py, kind)
    }

    // What `PyObject_Init` does apart from setting the class. Every version from 3.11 to 3.15 exports it.
    unsafe extern "C" {
        fn _Py_NewReference(object: *mut ffi::PyObject);
    }

    /// Keeps the block, with its reference to the class, or frees it if enough are kept.
    ///
    /// # Safety
    ///
    /// The thread is attached; `object` is an untracked handle without references, whose fields have been released.
    /// The caller gives it up.
    #[inline]
    pub(in crate::ffi) unsafe fn give_back(object: *mut ffi::PyObject) {
        // SAFETY: live memory of an instance, as the caller guarantees.
        let class = unsafe { ffi::Py_TYPE(object) };
        let list = if class == PLAIN.object() {
            &PLAINS
        } else if class == TIMER.object() {
            &TIMERS
        } else {
            &THREAD_SAFES
        };
        // SAFETY: attached, and no other borrow of the list is alive (see `FreeList`).
        let list = unsafe { &mut *list.0.get() };
        if list.len() < KEPT {
            list.push(object);
        } else {
            // SAFETY: guaranteed by the caller.
            unsafe { class::free(object) };
        }
    }
}

/// Keeps nothing: free-threaded builds have a fast thread-local allocator.
#[cfg(Py_GIL_DISABLED)]
mod kept {
    use pyo3::ffi;
    use pyo3::prelude::*;

    use crate::ffi::class;
    use crate::ffi::handle_fields::HandleKind;

    pub(in crate::ffi) fn allocate(
        py: Python<'_>,
        kind: HandleKind,
    ) -> PyResult<*mut ffi::PyObject> {
        super::allocate_zeroed(py, kind)
    }

    /// # Safety
    ///
    /// The same as where blocks are kept.
    pub(in crate::ffi) unsafe fn give_back(object: *mut ffi::PyObject) {
        // SAFETY: guaranteed by the caller.
        unsafe { class::free(object) };
    }
}

/// Allocates a block of a handle class with everything after the head zeroed, not tracked.
fn allocate_zeroed(py: Python<'_>, kind: HandleKind) -> PyResult<*mut ffi::PyObject> {
    let class = kind.class().object();
    if class.is_null() {
        return Err(PySystemError::new_err("the class is not made yet"));
    }
    // SAFETY: attached; a heap type with the collector's flag, which is never freed. Returns an object that is not
    // tracked and not initialised after the head, or null with an exception set.
    let object = unsafe { ffi::PyObject_GC_New::<ffi::PyObject>(class) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: a live type.
    let size = unsafe { (*class).tp_basicsize }.cast_unsigned();
    // SAFETY: the head is part of the object.
    let behind_head = unsafe { object.add(1) }.cast::<u8>();
    // SAFETY: an object of this class is `size` bytes long, and no other code has seen it yet.
    unsafe { behind_head.write_bytes(0, size - size_of::<ffi::PyObject>()) };
    Ok(object)
}
