//! Classes whose references are not counted.

use pyo3::prelude::*;

/// Has threads stop counting references to a class, which this thread has just made and which is never freed.
///
/// Every object refers to its class. The interpreter counts a new object's reference on the thread that makes it, but
/// an extension can only end it in a count that all threads share, and loops of several threads would write to one cache
/// line for each handle.
#[cfg(Py_GIL_DISABLED)]
pub(super) fn make_immortal(class: &Bound<'_, PyAny>) {
    use std::sync::atomic::Ordering;

    // SAFETY: a live object. This thread has made it, so it owns the local count, and no other writes there; this value
    // marks an object that is immortal.
    let local = unsafe { &(*class.as_ptr()).ob_ref_local };
    local.store(u32::MAX, Ordering::Relaxed);
}

/// With a GIL, counting is cheap.
#[cfg(not(Py_GIL_DISABLED))]
pub(super) fn make_immortal(_class: &Bound<'_, PyAny>) {}
