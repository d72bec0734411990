//! Creates objects of Python's own types, and returns `MemoryError` when memory runs out.
//!
//! PyO3's constructors of strings, numbers, tuples and dictionaries panic then: in the middle of a turn, and often
//! while another error is reported.

use std::ffi::c_long;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::type_object::PyTypeCheck;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::reference::{owned, returned};

/// `MemoryError()`, in place of Rust's error for a failed allocation.
#[cold]
pub(crate) fn no_memory<E>(_: E) -> PyErr {
    PyMemoryError::new_err(())
}

/// A new `str`.
pub(crate) fn string<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, text.as_bytes())
}

/// A new `str` from a file's name, decoded like `os.fsdecode`.
pub(crate) fn path<'py>(py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let start = path.as_ptr().cast();
    // SAFETY: attached; `path` has that length, and a slice's length fits an `isize`.
    let made = unsafe { ffi::PyUnicode_DecodeFSDefaultAndSize(start, path.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns a `str`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A new `bytes` with these contents.
#[inline]
pub(crate) fn bytes<'py>(py: Python<'py>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let start = contents.as_ptr().cast();
    // SAFETY: attached; `contents` has that length, and a slice's length fits an `isize`.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(start, contents.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns a `bytes`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// `None`.
#[inline]
pub(crate) fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// A `bool`.
#[inline]
pub(crate) fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

/// A new `int`.
#[inline]
pub(crate) fn int(py: Python<'_>, number: usize) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyLong_FromSize_t(number) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns an `int`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A new `int` that may be negative.
pub(crate) fn signed(py: Python<'_>, number: i32) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyLong_FromLong(c_long::from(number)) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns an `int`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A new `float`.
#[inline]
pub(crate) fn float(py: Python<'_>, number: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyFloat_FromDouble(number) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns a `float`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A new, empty `dict`.
pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyDict_New() };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns a `dict`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A new `tuple` of these objects.
pub(crate) fn tuple<'py>(
    py: Python<'py>,
    objects: &[Borrowed<'_, 'py, PyAny>],
) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: attached; a slice's length fits an `isize`.
    let made = unsafe { ffi::PyTuple_New(objects.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    for (place, object) in (0..).zip(objects) {
        // SAFETY: a tuple of that size that no other code has; the call takes over a new reference.
        unsafe {
            ffi::PyTuple_SetItem(made.as_ptr(), place, Borrowed::to_owned(*object).into_ptr())
        };
    }
    // SAFETY: the function returns a `tuple`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A new `list` of these objects.
pub(crate) fn list<'py>(
    py: Python<'py>,
    objects: &[Borrowed<'_, 'py, PyAny>],
) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: attached; a slice's length fits an `isize`.
    let made = unsafe { ffi::PyList_New(objects.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    for (place, object) in (0..).zip(objects) {
        // SAFETY: a list of that size that no other code has; the call takes over a new reference.
        unsafe {
            ffi::PyList_SetItem(made.as_ptr(), place, Borrowed::to_owned(*object).into_ptr())
        };
    }
    // SAFETY: the function returns a `list`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// `slice(start, stop, 1)`.
pub(crate) fn slice(py: Python<'_>, start: usize, stop: usize) -> PyResult<Bound<'_, PyAny>> {
    let (start, stop) = (int(py, start)?, int(py, stop)?);
    // SAFETY: attached; both objects are alive, and null stands for `None`.
    let made = unsafe { ffi::PySlice_New(start.as_ptr(), stop.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { returned(py, made) }
}

/// Imports `module` and returns `module.name`.
pub(crate) fn import<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let module = PyModule::import(py, string(py, module)?)?;
    module.getattr(string(py, name)?)
}

/// Like [`import`], but only once: `cell` caches the result.
#[inline]
pub(crate) fn imported<'py, T: PyTypeCheck>(
    cell: &'static PyOnceLock<Py<T>>,
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, T>> {
    cell.get_or_try_init(py, || {
        let found = import(py, module, name)?.cast_into::<T>()?;
        Ok(found.unbind())
    })
    .map(|found| found.bind(py))
}

/// The next object of a Python iterator.
pub(crate) fn collected<'py>(
    objects: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut all = Vec::new();
    for object in objects {
        all.try_reserve(1).map_err(no_memory)?;
        all.push(object?);
    }
    Ok(all)
}
