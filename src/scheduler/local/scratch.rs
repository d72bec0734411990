//! Memory that reads share: nothing in it outlives one.

use std::cell::{Cell, RefCell, RefMut};
use std::mem::MaybeUninit;

use crate::ffi::Spares;

/// The buffers of one loop. Each is allocated by the first read that asks for it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Where small reads land before they become objects.
    pub(super) read_buffer: RefCell<Vec<MaybeUninit<u8>>>,
    /// Where many datagrams land at once; untouched where none is large.
    pub(super) datagram_buffer: RefCell<Vec<MaybeUninit<u8>>>,
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

/// Bytes of one read. A size equal to common messages would make each read look full, and cost one more that finds nothing.
pub(crate) const READ_SIZE: usize = 256 * 1024;
