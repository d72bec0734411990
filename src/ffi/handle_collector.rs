//! When the garbage collector tracks a handle.
//!
//! Most handles are created while the loop runs, are held by its queue alone, and are gone after their turn, so the
//! collector need not track them: a running loop is alive, and so is everything that its handles refer to. A handle
//! that leaves the queue but is still referenced is tracked then (`leave`), and all that are left are tracked when a
//! run ends (`track`). Of the handles created while the loop is stopped, only the last one and those with other
//! references stay tracked (`untrack_unless_shared`); the loop's traversal visits the others (`objects`).

use std::convert::Infallible;
use std::mem::{ManuallyDrop, replace, transmute};
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::handle_fields::{Handle, fields, with};
use super::owner::Stopped;

/// Tracks the handle, unless it is tracked already.
pub(crate) fn track(handle: &Bound<'_, Handle>) {
    // SAFETY: runs no Python code, and the next call tracks it.
    let was_tracked = unsafe { with(handle, |fields| replace(&mut fields.tracked, true)) };
    if !was_tracked {
        // SAFETY: complete, and not tracked yet.
        unsafe { ffi::PyObject_GC_Track(handle.as_ptr().cast()) };
    }
}

/// Called when the handle leaves the loop: if there are other references, the collector must track it.
#[inline]
pub(crate) fn leave(handle: &Bound<'_, Handle>) {
    if reference_count(handle.as_unbound()) > 1 {
        track(handle);
    }
}

/// Untracks a handle that only the loop's queue holds; `objects` then visits what it refers to instead. `held` is the
/// number of references that the caller knows of.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) fn untrack_unless_shared(handle: &Bound<'_, Handle>, held: isize) {
    if reference_count(handle.as_unbound()) > held {
        return;
    }
    // SAFETY: runs no Python code, and the next call untracks it.
    let was_tracked = unsafe { with(handle, |fields| std::mem::take(&mut fields.tracked)) };
    if was_tracked {
        // SAFETY: alive, and tracked until here.
        unsafe { ffi::PyObject_GC_UnTrack(handle.as_ptr().cast()) };
    }
}

/// Visits a handle that is in one place of a queue.
///
/// For an untracked handle without other references, this visits what it refers to. A handle with other references is
/// not visited at all: what it refers to then looks reachable, which it is.
pub(crate) fn objects(
    handle: &Py<Handle>,
    _witness: Stopped<'_>,
    visit: &mut dyn FnMut(&Py<PyAny>),
) {
    // SAFETY: a handle, which `Py` keeps alive.
    let fields = unsafe { fields(handle.as_ptr()) };
    // SAFETY: as above, and no thread is inside `with`, which contains no call in which it could be stopped.
    let fields = unsafe { &*fields };
    if fields.tracked {
        return visit(handle.as_any());
    }
    if reference_count(handle) > 1 {
        return;
    }
    let all = fields.objects(|pointer| {
        // SAFETY: `Py<PyAny>` has the layout of such a pointer; the handle owns the reference, and `ManuallyDrop`
        // does not release it.
        let object =
            ManuallyDrop::new(unsafe { transmute::<NonNull<ffi::PyObject>, Py<PyAny>>(pointer) });
        visit(&object);
        Ok::<_, Infallible>(())
    });
    let Ok(()) = all;
}

fn reference_count(handle: &Py<Handle>) -> isize {
    // SAFETY: `Py` keeps it alive.
    unsafe { ffi::Py_REFCNT(handle.as_ptr()) }
}
