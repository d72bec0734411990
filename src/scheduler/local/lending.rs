//! The buffers that reads borrow.

use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::Local;
use super::scratch::READ_SIZE;
use crate::ffi::make;
use crate::sys::buffer::ReadBuffer;
use crate::sys::datagram;

impl Local {
    /// Lends the buffer for small reads. It must not be asked for again before it is given back, and is not:
    /// the kernel fills it, and it is copied before Python code runs.
    pub(crate) fn with_read_buffer<R>(
        &self,
        read: impl FnOnce(&mut ReadBuffer<'_>) -> R,
    ) -> PyResult<R> {
        let mut buffer = self.scratch.read_buffer.borrow_mut();
        if buffer.is_empty() {
            buffer
                .try_reserve_exact(READ_SIZE)
                .map_err(make::no_memory)?;
            buffer.resize(READ_SIZE, MaybeUninit::uninit());
        }
        Ok(read(&mut ReadBuffer::new(&mut buffer)))
    }

    /// Lends the buffer for many datagrams, under the same condition.
    pub(crate) fn with_datagram_buffer<R>(
        &self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> R,
    ) -> PyResult<R> {
        let mut buffer = self.scratch.datagram_buffer.borrow_mut();
        if buffer.is_empty() {
            let size = datagram::MOST * datagram::SLOT_STRIDE;
            buffer.try_reserve_exact(size).map_err(make::no_memory)?;
            buffer.resize(size, MaybeUninit::uninit());
        }
        Ok(read(&mut buffer))
    }
}
