//! `bytes` and `bytearray` objects that a socket reads into.

use std::convert::Infallible;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use super::reference::owned;
use crate::sys::buffer::ReadBuffer;

/// A new `bytes` of up to `capacity`, with what `fill` fills, and its length.
///
/// The object is shrunk in place to what was written; an error of `fill` frees it.
pub(crate) fn read_into_new<R, E>(
    py: Python<'_>,
    capacity: usize,
    fill: impl FnOnce(&mut ReadBuffer<'_>) -> Result<R, E>,
) -> PyResult<Result<(Bound<'_, PyBytes>, usize), E>> {
    let size = ffi::Py_ssize_t::try_from(capacity)?;
    // SAFETY: attached; a null source means uninitialised contents. A new reference, or null with
    // an exception set.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
    // SAFETY: as above: a new reference or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    // SAFETY: `object` is a `bytes`, so its contents begin there and are `capacity` long.
    let start = unsafe { ffi::PyBytes_AS_STRING(object.as_ptr()) };
    // SAFETY: nobody else has seen the object, so the borrow is unique; it need not be initialised.
    let contents = unsafe { std::slice::from_raw_parts_mut(start.cast_mut().cast(), capacity) };
    let mut buffer = ReadBuffer::new(contents);
    if let Err(error) = fill(&mut buffer) {
        return Ok(Err(error));
    }
    let written = buffer.filled().len();
    let mut raw = object.into_ptr();
    if written < capacity {
        // SAFETY: `raw` is the only reference to a `bytes` that was never hashed or seen. On failure
        // it is freed and set to null, with an exception set.
        let resized = unsafe { _PyBytes_Resize(&raw mut raw, written.cast_signed()) };
        if resized < 0 {
            return Err(PyErr::fetch(py));
        }
    }
    // SAFETY: a live new reference (checked above), and it is a `bytes`.
    let object = unsafe { owned(py, raw) };
    Ok(Ok((object, written)))
}

/// A new `bytes` of `parts`, one after the other.
pub(crate) fn joined<'py>(py: Python<'py>, parts: &[&[u8]]) -> PyResult<Bound<'py, PyBytes>> {
    let total = parts.iter().map(|part| part.len()).sum();
    let made = read_into_new(py, total, |buffer| {
        for part in parts {
            buffer.put(part);
        }
        Ok::<_, Infallible>(())
    })?;
    match made {
        Ok((bytes, _)) => Ok(bytes),
        Err(never) => match never {},
    }
}

/// Grows `target` by what `fill` fills, up to `capacity` bytes; returns how many.
///
/// Raises `BufferError` when a `memoryview` pins the size, before anything is read.
pub(crate) fn append_into<R, E>(
    target: &Bound<'_, PyByteArray>,
    capacity: usize,
    fill: impl FnOnce(&mut ReadBuffer<'_>) -> Result<R, E>,
) -> PyResult<Result<usize, E>> {
    let length = target.len();
    target.resize(length + capacity)?;
    let outcome = {
        // SAFETY: `target` is a `bytearray` of `length + capacity` bytes since the line above.
        let tail = unsafe { target.data().add(length) };
        // SAFETY: the tail is inside the allocation; no Python code runs and the thread stays attached
        // until the borrow ends, and on free-threaded builds the reader belongs to this thread.
        let tail = unsafe { std::slice::from_raw_parts_mut(tail.cast(), capacity) };
        let mut buffer = ReadBuffer::new(tail);
        fill(&mut buffer).map(|_| buffer.filled().len())
    };
    target.resize(length + *outcome.as_ref().unwrap_or(&0))?;
    Ok(outcome)
}

/// Appends `data` to `target`; `BufferError` when a `memoryview` pins its size.
pub(crate) fn extend(target: &Bound<'_, PyByteArray>, data: &[u8]) -> PyResult<()> {
    append_into(target, data.len(), |tail| {
        tail.put(data);
        Ok::<_, Infallible>(())
    })
    .map(|_| ())
}

/// Whether the error says that an exported buffer pins a `bytearray`.
pub(crate) fn is_pinned(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBufferError>(py)
}

// A public function of CPython that pyo3's `ffi` lacks.
unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}
