//! Objects of Python's own types, made so that a want of memory is an error like any other.
//!
//! PyO3's makers of strings, numbers, tuples and dictionaries panic where there is no memory: in the middle of a turn, and
//! often while another error is reported.

use std::ffi::c_long;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::type_object::PyTypeCheck;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::reference::{owned, returned};

/// `MemoryError()`, in place of what Rust says of an allocation that failed.
#[cold]
pub(crate) fn no_memory<E>(_: E) -> PyErr {
    PyMemoryError::new_err(())
}

/// A `str`.
pub(crate) fn string<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, text.as_bytes())
}

/// A `str` of a file's name.
pub(crate) fn path<'py>(py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let start = path.as_ptr().cast();
    // SAFETY: attached; `path` is that long, and a slice's length is an `isize`'s.
    let made = unsafe { ffi::PyUnicode_DecodeFSDefaultAndSize(start, path.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: a `str`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A `bytes` with these contents.
#[inline]
pub(crate) fn bytes<'py>(py: Python<'py>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let start = contents.as_ptr().cast();
    // SAFETY: attached; `contents` is that long, and a slice's length is an `isize`'s.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(start, contents.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: a `bytes`, as the function says.
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

/// An `int`.
#[inline]
pub(crate) fn int(py: Python<'_>, number: usize) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyLong_FromSize_t(number) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: an `int`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// An `int` that may be negative.
pub(crate) fn signed(py: Python<'_>, number: i32) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyLong_FromLong(c_long::from(number)) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: an `int`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A `float`.
#[inline]
pub(crate) fn float(py: Python<'_>, number: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyFloat_FromDouble(number) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: a `float`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// An empty `dict`.
pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: attached.
    let made = unsafe { ffi::PyDict_New() };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: a `dict`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A `tuple` of these objects.
pub(crate) fn tuple<'py>(
    py: Python<'py>,
    objects: &[Borrowed<'_, 'py, PyAny>],
) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: attached; a slice's length is an `isize`'s.
    let made = unsafe { ffi::PyTuple_New(objects.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    for (place, object) in (0..).zip(objects) {
        // SAFETY: a tuple that no other code has, which has that place; it takes over a new reference.
        unsafe {
            ffi::PyTuple_SetItem(made.as_ptr(), place, Borrowed::to_owned(*object).into_ptr())
        };
    }
    // SAFETY: a `tuple`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// A `list` of these objects.
pub(crate) fn list<'py>(
    py: Python<'py>,
    objects: &[Borrowed<'_, 'py, PyAny>],
) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: attached; a slice's length is an `isize`'s.
    let made = unsafe { ffi::PyList_New(objects.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    for (place, object) in (0..).zip(objects) {
        // SAFETY: a list that no other code has, which has that place; it takes over a new reference.
        unsafe {
            ffi::PyList_SetItem(made.as_ptr(), place, Borrowed::to_owned(*object).into_ptr())
        };
    }
    // SAFETY: a `list`, as the function says.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// `slice(start, stop, 1)`.
pub(crate) fn slice(py: Python<'_>, start: usize, stop: usize) -> PyResult<Bound<'_, PyAny>> {
    let (start, stop) = (int(py, start)?, int(py, stop)?);
    // SAFETY: attached; live objects, and null stands for `None`.
    let made = unsafe { ffi::PySlice_New(start.as_ptr(), stop.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { returned(py, made) }
}

/// `module.name`, which the module is imported for.
pub(crate) fn import<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let module = PyModule::import(py, string(py, module)?)?;
    module.getattr(string(py, name)?)
}

/// As [`import`], once.
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

/// What an iterator of Python's gives.
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
