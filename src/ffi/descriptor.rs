//! Descriptors as the interpreter converts them.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;

/// The number of a descriptor, given as an `int`. Raises `OverflowError` if it is too large, `ValueError` if it is
/// negative.
pub(crate) fn number(fd: &Bound<'_, PyAny>) -> PyResult<c_int> {
    // SAFETY: attached; a live object. Returns -1 with an exception set on failure, and no other negative number.
    let number = unsafe { ffi::PyObject_AsFileDescriptor(fd.as_ptr()) };
    if number < 0 {
        return Err(PyErr::fetch(fd.py()));
    }
    Ok(number)
}
