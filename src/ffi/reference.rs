//! Converts raw pointers to references that PyO3 counts.

use pyo3::ffi;
use pyo3::prelude::*;

/// The result of a CPython call, as a `PyResult`.
///
/// # Safety
///
/// `pointer` is a new reference that the caller gives up, or null with an exception set.
#[inline]
pub(super) unsafe fn returned(
    py: Python<'_>,
    pointer: *mut ffi::PyObject,
) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: guaranteed by the caller.
    unsafe { Bound::from_owned_ptr_or_err(py, pointer) }
}

/// Wraps a new reference of known type.
///
/// # Safety
///
/// `pointer` is a new reference that the caller gives up, to an object that `Bound<T>` may represent.
#[inline]
pub(super) unsafe fn owned<T>(py: Python<'_>, pointer: *mut ffi::PyObject) -> Bound<'_, T> {
    // SAFETY: guaranteed by the caller.
    let object = unsafe { Bound::from_owned_ptr(py, pointer) };
    // SAFETY: guaranteed by the caller.
    unsafe { object.cast_into_unchecked() }
}

/// Wraps a borrowed reference of known type.
///
/// # Safety
///
/// The object is alive for `'a`, and `Bound<T>` may represent it.
#[inline]
pub(super) unsafe fn borrowed<'a, 'py, T>(
    py: Python<'py>,
    pointer: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, T> {
    // SAFETY: guaranteed by the caller.
    let object = unsafe { Bound::ref_from_ptr(py, pointer) };
    // SAFETY: guaranteed by the caller.
    unsafe { object.cast_unchecked() }
}

/// Makes a call for the interpreter, and lets PyO3 know that the thread is attached. Otherwise every `Py` and every
/// error that is dropped would wait for a later call.
///
/// # Safety
///
/// The thread is attached.
#[inline]
pub(super) unsafe fn counted<R>(call: impl for<'py> FnOnce(Python<'py>) -> R) -> R {
    // SAFETY: the caller guarantees that the thread is attached, so the interpreter is running.
    unsafe { Python::attach_unchecked(call) }
}

/// `True` or `False`, borrowed.
#[inline]
pub(super) fn truth(value: bool) -> *mut ffi::PyObject {
    if value {
        // SAFETY: this only takes the address of one of the interpreter's own objects.
        return unsafe { ffi::Py_True() };
    }
    // SAFETY: as above.
    unsafe { ffi::Py_False() }
}

/// A reference to `True` or `False` that a field may own. They are immortal since Python 3.12, and need no counting.
#[inline]
pub(super) fn new_truth(_py: Python<'_>, value: bool) -> *mut ffi::PyObject {
    if cfg!(not(Py_3_12)) {
        // SAFETY: attached; one of the interpreter's own objects.
        return unsafe { new_reference(truth(value)) };
    }
    truth(value)
}

/// `None`, borrowed.
#[inline]
pub(super) fn none() -> *mut ffi::PyObject {
    // SAFETY: this only takes the address of one of the interpreter's own objects.
    unsafe { ffi::Py_None() }
}

/// A reference to `None` that a field may own.
#[inline]
pub(super) fn new_none(_py: Python<'_>) -> *mut ffi::PyObject {
    if cfg!(not(Py_3_12)) {
        // SAFETY: attached; one of the interpreter's own objects.
        return unsafe { new_reference(none()) };
    }
    none()
}

/// Whether it is a function written in Python.
///
/// # Safety
///
/// `object` is alive.
#[inline]
pub(super) unsafe fn is_function(object: *mut ffi::PyObject) -> bool {
    // SAFETY: guaranteed by the caller.
    unsafe { ffi::PyFunction_Check(object) != 0 }
}

/// A new reference to the same object.
///
/// # Safety
///
/// The thread is attached; `object` is alive.
#[inline]
pub(super) unsafe fn new_reference(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: guaranteed by the caller.
    unsafe { ffi::Py_NewRef(object) }
}

/// Releases a reference. A destructor may run any Python code.
///
/// # Safety
///
/// The thread is attached; `object` is null, or a reference that the caller owns and gives up.
#[inline]
pub(super) unsafe fn release(object: *mut ffi::PyObject) {
    // SAFETY: guaranteed by the caller.
    unsafe { ffi::Py_XDECREF(object) };
}
