//! When the collector hears of a handle.
//!
//! Most handles are made while the loop runs, held by its queue alone, and gone after their turn: the
//! collector need not know them. While the loop runs it is alive, and with it what its handles refer to.
//! A handle that leaves the queue and is still held (`leave`) is told to the collector then, and when a run
//! ends, all that are left (`track`). Of those that are made while the loop is stopped, only the last and the ones that
//! somebody else holds are known (`untrack_unless_shared`); the loop stands for the others (`objects`).

use std::convert::Infallible;
use std::mem::{ManuallyDrop, replace, transmute};
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::handle_fields::{Handle, fields, with};
use super::owner::Stopped;

/// Tells the collector of the handle, where it does not know it yet.
pub(crate) fn track(handle: &Bound<'_, Handle>) {
    // SAFETY: runs no Python code, and the collector hears of it next.
    let was_tracked = unsafe { with(handle, |fields| replace(&mut fields.tracked, true)) };
    if !was_tracked {
        // SAFETY: complete, and not tracked yet.
        unsafe { ffi::PyObject_GC_Track(handle.as_ptr().cast()) };
    }
}

/// The handle leaves the loop: from now on it is the business of whoever still holds it.
#[inline]
pub(crate) fn leave(handle: &Bound<'_, Handle>) {
    if reference_count(handle.as_unbound()) > 1 {
        track(handle);
    }
}

/// The collector need not know a handle that nobody but the loop's queue holds: what it refers to is then shown
/// in its place (`objects`). `held` is how many references the caller knows of.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) fn untrack_unless_shared(handle: &Bound<'_, Handle>, held: isize) {
    if reference_count(handle.as_unbound()) > held {
        return;
    }
    // SAFETY: runs no Python code, and the collector hears of it next.
    let was_tracked = unsafe { with(handle, |fields| std::mem::take(&mut fields.tracked)) };
    if was_tracked {
        // SAFETY: alive, and tracked until here.
        unsafe { ffi::PyObject_GC_UnTrack(handle.as_ptr().cast()) };
    }
}

/// Shows the collector a handle that is in one place of a queue.
///
/// One that it does not know, and that nobody else can reach, stands for what it refers to. One that
/// somebody else holds is shown to nobody: what it refers to then looks reachable, as it is.
pub(crate) fn objects(
    handle: &Py<Handle>,
    _witness: Stopped<'_>,
    visit: &mut dyn FnMut(&Py<PyAny>),
) {
    // SAFETY: a handle, which `Py` keeps alive.
    let fields = unsafe { fields(handle.as_ptr()) };
    // SAFETY: as above, and no thread is inside `with`, which has no call where it could be stopped.
    let fields = unsafe { &*fields };
    if fields.tracked {
        return visit(handle.as_any());
    }
    if reference_count(handle) > 1 {
        return;
    }
    let all = fields.objects(|pointer| {
        // SAFETY: `Py<PyAny>` is nothing but such a pointer; the handle owns the reference, and `ManuallyDrop`
        // leaves it there.
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
