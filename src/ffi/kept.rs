//! The memory of instances: new, or kept from freed ones.

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::class::{NativeClass, class_of, free, value};
use super::reference::owned;
use super::stop::forget_value;

/// Blocks of one class, each with an object's head and its reference to the class. The GIL is the lock; free-threaded
/// builds have a fast thread-local allocator, and keep nothing.
pub(super) struct Kept {
    #[cfg(not(Py_GIL_DISABLED))]
    blocks: UnsafeCell<Vec<*mut ffi::PyObject>>,
}

// SAFETY: only the two functions below use the blocks, and they run attached: the GIL admits one thread, and neither
// function calls anything that could release it while the blocks are borrowed.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl Sync for Kept {}

// SAFETY: as above; blocks belong to no thread.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl Send for Kept {}

impl Kept {
    pub(super) const fn new() -> Self {
        Self {
            #[cfg(not(Py_GIL_DISABLED))]
            blocks: UnsafeCell::new(Vec::new()),
        }
    }

    /// A block as a new object, not tracked yet, if there is one. Its fields are those of the object before.
    #[cfg_attr(
        Py_GIL_DISABLED,
        expect(clippy::unused_self, reason = "nothing is kept")
    )]
    #[inline]
    pub(super) fn take(&self, _py: Python<'_>) -> Option<*mut ffi::PyObject> {
        #[cfg(not(Py_GIL_DISABLED))]
        // SAFETY: attached, and no other borrow of the blocks is alive (see above).
        if let Some(object) = unsafe { &mut *self.blocks.get() }.pop() {
            // SAFETY: a block with a head, whose reference to the class it kept; this sets the count to one.
            unsafe { _Py_NewReference(object) };
            return Some(object);
        }
        None
    }

    /// Keeps a block if fewer than `most` are kept.
    ///
    /// # Safety
    ///
    /// The thread is attached. `object` is untracked, without references, and its value has been dropped; if the
    /// answer is `true`, the caller gives it up.
    #[cfg_attr(
        Py_GIL_DISABLED,
        expect(clippy::unused_self, reason = "nothing is kept")
    )]
    #[inline]
    pub(super) unsafe fn keep(&self, object: *mut ffi::PyObject, most: usize) -> bool {
        #[cfg(not(Py_GIL_DISABLED))]
        {
            // SAFETY: attached, and no other borrow of the blocks is alive (see above).
            let blocks = unsafe { &mut *self.blocks.get() };
            // Without memory for the list, the block is freed.
            if blocks.len() < most && blocks.try_reserve(1).is_ok() {
                blocks.push(object);
                return true;
            }
        }
        let _ = (object, most);
        false
    }
}

/// A new instance in new memory.
pub(super) fn allocate<T: NativeClass>(py: Python<'_>, value: T) -> PyResult<Bound<'_, T>> {
    let class = class_of::<T>(py)?;
    // SAFETY: attached; `class` is a live heap type with the collector's flag, for which `tp_alloc` allocates.
    // Returns a new reference to zeroed memory, or null with an exception set.
    let object = unsafe { ffi::PyType_GenericAlloc(class.as_type_ptr(), 0) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: `basicsize` leaves room for a `T` at this offset, aligned (see `Layout`).
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    // SAFETY: as above, and the place is empty. No Python code has run since the allocation.
    unsafe { place.write(value) };
    // SAFETY: a new reference to an instance of `T`'s class.
    Ok(unsafe { owned(py, object) })
}

/// A new instance in memory that was kept; `value` if there is none.
#[inline]
pub(super) fn revive<T: NativeClass>(py: Python<'_>, value: T) -> Result<Bound<'_, T>, T> {
    let Some(object) = T::class().kept.take(py) else {
        return Err(value);
    };
    // SAFETY: the block was an instance of this class, with room for a `T` at this offset.
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    // SAFETY: as above, and the value before has been dropped.
    unsafe { place.write(value) };
    // SAFETY: not tracked since it was kept, and complete.
    unsafe { ffi::PyObject_GC_Track(object.cast()) };
    // SAFETY: a new reference to an instance of `T`'s class.
    Ok(unsafe { owned(py, object) })
}

/// Keeps the memory of an instance that needs no finalizer. `false`, and nothing done, for any other.
///
/// # Safety
///
/// The thread is attached; `object` is an instance of `T`'s class whose count has dropped to zero.
#[inline]
pub(super) unsafe fn keep<T: NativeClass>(object: *mut ffi::PyObject) -> bool {
    // SAFETY: an instance that carries a value.
    let instance = unsafe { value::<T>(object) };
    // SAFETY: guaranteed by the caller.
    let is_plain = instance.needs_no_finalizer(unsafe { Python::assume_attached() });
    // SAFETY: a live object with the collector's head.
    if !is_plain || unsafe { ffi::PyObject_GC_IsFinalized(object) } != 0 {
        return false;
    }
    // SAFETY: tracked since it was made.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: an instance of `T`'s class.
    if unsafe { has_weak_references(object) } {
        // SAFETY: live memory of an instance with weak references, attached.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
    // SAFETY: there is a `T` at this offset, which no other code can reach any more.
    let place = unsafe { object.byte_add(T::class().offset()) }.cast::<T>();
    let drop_value = |py: Python<'_>| {
        // If this was a coroutine, its `await` has taken the value.
        forget_value(py);
        // SAFETY: as above; dropped once, here. A panic of the drop is caught here.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { place.drop_in_place() }));
        // Ignored: the panic hook has printed it, and a deallocator cannot return an error.
        drop(dropped);
    };
    // SAFETY: the interpreter made this call, so it is running. Lets PyO3 drop references at once.
    unsafe { Python::attach_unchecked(drop_value) };
    // SAFETY: untracked, without references, and its value has been dropped above.
    if !unsafe { T::class().kept.keep(object, T::KEPT) } {
        // SAFETY: attached; untracked, and its value and weak references are gone; it has no dict and no slots.
        unsafe { free(object) };
    }
    true
}

/// Whether there have been weak references to the object.
///
/// # Safety
///
/// `object` is an instance of a class made here.
#[inline]
unsafe fn has_weak_references(object: *mut ffi::PyObject) -> bool {
    // SAFETY: a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: the class of a live object.
    let offset = unsafe { (*class).tp_weaklistoffset };
    if offset <= 0 {
        return true; // The interpreter may know another place.
    }
    // SAFETY: the list's place within the instance (see `Layout`).
    let place = unsafe { object.byte_offset(offset) }.cast::<*mut ffi::PyObject>();
    // SAFETY: as above. Nothing refers to the object any more, so nothing adds a weak reference; threads that free one
    // write atomically, or with the GIL.
    let list = unsafe { AtomicPtr::from_ptr(place) };
    !list.load(Ordering::Acquire).is_null()
}

impl fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kept").finish_non_exhaustive()
    }
}

// What `PyObject_Init` does apart from setting the class. Every version from 3.11 to 3.15 exports it.
#[cfg(not(Py_GIL_DISABLED))]
unsafe extern "C" {
    fn _Py_NewReference(object: *mut ffi::PyObject);
}
