//! From raw pointers to references that PyO3 counts.

use pyo3::ffi;
use pyo3::prelude::*;

/// What a call of CPython's returned.
///
/// # Safety
///
/// `pointer` is a new reference that the caller gives up, or null with an exception set.
#[inline]
pub(super) unsafe fn returned(
    py: Python<'_>,
    pointer: *mut ffi::PyObject,
) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the caller's.
    unsafe { Bound::from_owned_ptr_or_err(py, pointer) }
}

/// A new reference, as what it is known to be.
///
/// # Safety
///
/// `pointer` is a new reference that the caller gives up, to what `Bound<T>` may stand for.
#[inline]
pub(super) unsafe fn owned<T>(py: Python<'_>, pointer: *mut ffi::PyObject) -> Bound<'_, T> {
    // SAFETY: the caller's.
    let object = unsafe { Bound::from_owned_ptr(py, pointer) };
    // SAFETY: the caller's.
    unsafe { object.cast_into_unchecked() }
}

/// A pointer that somebody else keeps alive, as what it is known to be.
///
/// # Safety
///
/// The object is alive for `'a`, and what `Bound<T>` may stand for.
#[inline]
pub(super) unsafe fn borrowed<'a, 'py, T>(
    py: Python<'py>,
    pointer: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, T> {
    // SAFETY: the caller's.
    let object = unsafe { Bound::ref_from_ptr(py, pointer) };
    // SAFETY: the caller's.
    unsafe { object.cast_unchecked() }
}

/// Makes a call that the interpreter asked for, and lets PyO3 know that the thread is attached: otherwise each `Py` and
/// each error that is dropped would wait for a later call.
///
/// # Safety
///
/// Attached.
#[inline]
pub(super) unsafe fn counted<R>(call: impl for<'py> FnOnce(Python<'py>) -> R) -> R {
    // SAFETY: the caller's: with a thread attached the interpreter is up.
    unsafe { Python::attach_unchecked(call) }
}

/// `True` or `False`, borrowed.
#[inline]
pub(super) fn truth(value: bool) -> *mut ffi::PyObject {
    if value {
        // SAFETY: only the address of one of the interpreter's own objects is taken.
        return unsafe { ffi::Py_True() };
    }
    // SAFETY: as above.
    unsafe { ffi::Py_False() }
}

/// `True` or `False` for a field to own: they live for ever since Python 3.12, and need no counting.
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
fn none() -> *mut ffi::PyObject {
    // SAFETY: only the address of one of the interpreter's own objects is taken.
    unsafe { ffi::Py_None() }
}

/// `None` for a field to own.
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
    // SAFETY: the caller's.
    unsafe { ffi::PyFunction_Check(object) != 0 }
}

/// The pointer again, for a second owner.
///
/// # Safety
///
/// Attached; `object` is alive.
#[inline]
pub(super) unsafe fn new_reference(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the caller's.
    unsafe { ffi::Py_NewRef(object) }
}

/// Lets go of a reference. A destructor may run any Python code.
///
/// # Safety
///
/// Attached; `object` is null, or a reference that the caller owns and gives up.
#[inline]
pub(super) unsafe fn release(object: *mut ffi::PyObject) {
    // SAFETY: the caller's.
    unsafe { ffi::Py_XDECREF(object) };
}
