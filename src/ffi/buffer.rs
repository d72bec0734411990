//! The buffer protocol: borrows the memory of other objects while attached.

use std::marker::PhantomData;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

/// Whether the object has one of the types that asyncio's transports send: `bytes`, `bytearray` or `memoryview`.
#[inline]
pub(crate) fn is_bytes_like(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyBytes>()
        || object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyMemoryView>()
}

use crate::sys::buffer::ReadBuffer;

/// Where a [`View`] is kept: an object may have noted the address, so a view does not move.
pub(crate) struct Place(ffi::Py_buffer);

impl Default for Place {
    #[inline]
    fn default() -> Self {
        Self(ffi::Py_buffer::new())
    }
}

/// A contiguous view of an object's memory, released when dropped.
pub(crate) struct View<'a, 'py> {
    attached: PhantomData<Python<'py>>,
    raw: &'a mut ffi::Py_buffer,
}

impl<'a, 'py> View<'a, 'py> {
    /// A view for writing. Returns `BufferError` if the object does not allow it.
    #[inline]
    pub(crate) fn writable(object: &Bound<'py, PyAny>, place: &'a mut Place) -> PyResult<Self> {
        Self::new(object, place, ffi::PyBUF_WRITABLE)
    }

    /// A view for reading.
    #[inline]
    pub(crate) fn readable(object: &Bound<'py, PyAny>, place: &'a mut Place) -> PyResult<Self> {
        Self::new(object, place, ffi::PyBUF_SIMPLE)
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len.cast_unsigned()
    }

    /// The bytes, for reading; copy them before Python code can run.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.len() == 0 {
            return &[];
        }
        // SAFETY: a simple or writable view is contiguous: `len` bytes from `buf`, alive and not moved until
        // released. On free-threaded builds other threads may write to it, as with any C extension, but each byte
        // stays a valid byte.
        unsafe { std::slice::from_raw_parts(self.raw.buf.cast(), self.len()) }
    }

    /// The bytes, for filling. Empty unless [`View::writable`] made the view.
    pub(crate) fn room(&mut self) -> ReadBuffer<'_> {
        if self.len() == 0 || self.raw.readonly != 0 {
            return ReadBuffer::new(&mut []);
        }
        // SAFETY: as in `bytes`, and not read-only; `&mut self` makes this Rust's only borrow.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.raw.buf.cast(), self.len()) };
        ReadBuffer::new(memory)
    }

    #[inline]
    fn new(
        object: &Bound<'py, PyAny>,
        place: &'a mut Place,
        flags: std::ffi::c_int,
    ) -> PyResult<Self> {
        let raw = &mut place.0;
        // SAFETY: attached; `raw` is a place for a view, and stays borrowed, so in its place, until that is released.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *raw, flags) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self {
            attached: PhantomData,
            raw,
        })
    }
}

impl Drop for View<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: attached, as `py` in the view proves; `PyObject_GetBuffer` filled the view, and only this call
        // releases it.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.raw) };
    }
}
