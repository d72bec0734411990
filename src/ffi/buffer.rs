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

/// A contiguous view of an object's memory, released when dropped.
pub(crate) struct View<'py> {
    attached: PhantomData<Python<'py>>,
    raw: Box<ffi::Py_buffer>,
}

impl<'py> View<'py> {
    /// A view for writing. Returns `BufferError` if the object does not allow it.
    pub(crate) fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_WRITABLE)
    }

    /// A view for reading.
    pub(crate) fn readable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_SIMPLE)
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

    fn new(object: &Bound<'py, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        let mut raw = Box::new(ffi::Py_buffer::new());
        // SAFETY: attached; `raw` is a blank view on the heap, where it stays until released.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *raw, flags) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self {
            attached: PhantomData,
            raw,
        })
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: attached, as `py` in the view proves; `PyObject_GetBuffer` filled the view, and only this call
        // releases it.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.raw) };
    }
}
