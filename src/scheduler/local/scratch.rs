//! Memory that reads share: nothing in it outlives one.

use std::cell::RefMut;
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::{Local, READ_SIZE};
use crate::ffi::{Spares, make};
use crate::sys::datagram;

impl Local {
    /// Lends the buffer for small reads. It must not be asked for again before it is given back, and is not:
    /// the kernel fills it, and it is copied before Python code runs.
    pub(crate) fn with_read_buffer<R>(
        &self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> R,
    ) -> PyResult<R> {
        let mut buffer = self.read_buffer.borrow_mut();
        if buffer.is_empty() {
            buffer
                .try_reserve_exact(READ_SIZE)
                .map_err(make::no_memory)?;
            buffer.resize(READ_SIZE, MaybeUninit::new(0));
        }
        Ok(read(&mut buffer))
    }

    /// What small reads make their objects with. Dropping a `bytes` runs no Python code.
    pub(crate) fn spares(&self) -> RefMut<'_, Spares> {
        self.spares.borrow_mut()
    }

    pub(crate) fn receives_much(&self) -> bool {
        self.receives_much.get()
    }

    pub(crate) fn note_received(&self, much: bool) {
        self.receives_much.set(much);
    }

    /// Lends the buffer for many datagrams, under the same condition.
    pub(crate) fn with_datagram_buffer<R>(
        &self,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> R,
    ) -> PyResult<R> {
        let mut buffer = self.datagram_buffer.borrow_mut();
        if buffer.is_empty() {
            let size = datagram::MOST * datagram::SLOT_STRIDE;
            buffer.try_reserve_exact(size).map_err(make::no_memory)?;
            buffer.resize(size, MaybeUninit::uninit());
        }
        Ok(read(&mut buffer))
    }
}
