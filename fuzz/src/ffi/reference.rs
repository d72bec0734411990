//! A stand-in for the three functions that `capsule.rs` and `pollable.rs` name.

use pyo3::ffi;
use pyo3::prelude::*;

/// # Safety
///
/// `pointer` is a new reference that the caller gives up, or null with an exception set.
pub(super) unsafe fn returned(
    py: Python<'_>,
    pointer: *mut ffi::PyObject,
) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: guaranteed by the caller.
    unsafe { Bound::from_owned_ptr_or_err(py, pointer) }
}

/// # Safety
///
/// `pointer` is a new reference that the caller gives up.
pub(super) unsafe fn owned<T>(py: Python<'_>, pointer: *mut ffi::PyObject) -> Bound<'_, T> {
    // SAFETY: guaranteed by the caller.
    unsafe { Bound::from_owned_ptr(py, pointer) }
}

/// # Safety
///
/// The object is alive for `'a`.
pub(super) unsafe fn borrowed<'a, 'py, T>(
    py: Python<'py>,
    pointer: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, T> {
    // SAFETY: guaranteed by the caller.
    unsafe { Bound::ref_from_ptr(py, pointer) }
}
