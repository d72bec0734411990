//! Memory that reads share: nothing in it outlives one.

use std::cell::{Cell, RefCell, RefMut};
use std::mem::MaybeUninit;

use pyo3::prelude::*;

use super::Local;
use crate::ffi::{Spares, make};
use crate::sys::buffer::ReadBuffer;
use crate::sys::datagram;

/// The buffers of one loop. Each is allocated by the first read that asks for it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Where small reads land before they become objects.
    read_buffer: RefCell<Vec<MaybeUninit<u8>>>,
    /// Where many datagrams land at once; untouched where none is large.
    datagram_buffer: RefCell<Vec<MaybeUninit<u8>>>,
    /// The objects of small reads and writes that are over.
    spares: RefCell<Spares>,
    /// What `sock_recv` found last was large: the next one goes straight into the object.
    receives_much: Cell<bool>,
}

impl Scratch {
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

    /// Gives the memory back.
    pub(super) fn clear(&self) {
        self.read_buffer.take();
        self.datagram_buffer.take();
        self.spares.take();
    }
}

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

/// Bytes of one read. A size equal to common messages would make each read look full, and cost one more that finds nothing.
pub(crate) const READ_SIZE: usize = 256 * 1024;
