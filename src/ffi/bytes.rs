//! `bytes` and `bytearray` objects that a socket reads into.

use std::convert::Infallible;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use super::reference::{owned, returned};
use crate::sys::buffer::ReadBuffer;

/// Creates a `bytes` of up to `capacity` bytes and returns what `fill` wrote to it, with its length.
///
/// The object is shrunk in place to the bytes written. If `fill` fails, the object is freed.
pub(crate) fn read_into_new<R, E>(
    py: Python<'_>,
    capacity: usize,
    fill: impl FnOnce(&mut ReadBuffer<'_>) -> Result<R, E>,
) -> PyResult<Result<(Bound<'_, PyBytes>, usize), E>> {
    let size = ffi::Py_ssize_t::try_from(capacity)?;
    // SAFETY: attached; a null source leaves the contents uninitialised. Returns a new reference, or null with an
    // exception set.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
    // SAFETY: as above: a new reference or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    // SAFETY: `object` is a `bytes`, so its contents begin there and are `capacity` long.
    let start = unsafe { ffi::PyBytes_AS_STRING(object.as_ptr()) };
    // SAFETY: no other code has seen the object, so the borrow is unique; `MaybeUninit` contents need not be
    // initialised.
    let contents = unsafe { std::slice::from_raw_parts_mut(start.cast_mut().cast(), capacity) };
    let mut buffer = ReadBuffer::new(contents);
    if let Err(error) = fill(&mut buffer) {
        return Ok(Err(error));
    }
    let written = buffer.filled().len();
    let mut raw = object.into_ptr();
    if written < capacity {
        // SAFETY: `raw` is the only reference to a `bytes` that was never hashed or shared. On failure the call frees
        // it and sets `raw` to null, with an exception set.
        let resized = unsafe { _PyBytes_Resize(&raw mut raw, written.cast_signed()) };
        if resized < 0 {
            return Err(PyErr::fetch(py));
        }
    }
    // SAFETY: a live new reference (checked above) to a `bytes`.
    let object = unsafe { owned(py, raw) };
    Ok(Ok((object, written)))
}

/// Creates a `bytes` that concatenates `parts`.
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

/// Appends what `fill` writes to `target`, up to `capacity` bytes, and returns how many bytes that is.
///
/// Returns `BufferError` before it reads anything if a `memoryview` pins the size.
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
        // SAFETY: the tail is inside the allocation. No Python code runs and the thread stays attached until the
        // borrow ends; on free-threaded builds the reader belongs to this thread.
        let tail = unsafe { std::slice::from_raw_parts_mut(tail.cast(), capacity) };
        let mut buffer = ReadBuffer::new(tail);
        fill(&mut buffer).map(|_| buffer.filled().len())
    };
    target.resize(length + *outcome.as_ref().unwrap_or(&0))?;
    Ok(outcome)
}

/// Appends `data` to `target`. Returns `BufferError` if a `memoryview` pins its size.
pub(crate) fn extend(target: &Bound<'_, PyByteArray>, data: &[u8]) -> PyResult<()> {
    append_into(target, data.len(), |tail| {
        tail.put(data);
        Ok::<_, Infallible>(())
    })
    .map(|_| ())
}

/// A new `bytearray` with these contents.
pub(crate) fn array<'py>(py: Python<'py>, contents: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
    let start = contents.as_ptr().cast();
    // SAFETY: attached; `contents` has that length, and a slice's length fits an `isize`.
    let made = unsafe { ffi::PyByteArray_FromStringAndSize(start, contents.len().cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: the function returns a `bytearray`.
    Ok(unsafe { owned(py, made.into_ptr()) })
}

/// Whether the error means that an exported buffer pins a `bytearray`.
pub(crate) fn is_pinned(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBufferError>(py)
}

// A public function of CPython that pyo3's `ffi` lacks.
unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}
