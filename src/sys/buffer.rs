//! Memory that a read fills.

use std::mem::MaybeUninit;

/// Room for a read, and how much of it is filled: of that much it is certain that it is initialised.
///
/// The memory itself is reached by a pointer only: what is filled stays so, also where it is another object's.
#[derive(Debug)]
pub(crate) struct ReadBuffer<'a> {
    memory: &'a mut [MaybeUninit<u8>],
    /// # Invariant
    ///
    /// So many bytes at the front are initialised; no more than there are.
    filled: usize,
}

impl<'a> ReadBuffer<'a> {
    /// With nothing filled.
    pub(crate) fn new(memory: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { memory, filled: 0 }
    }

    /// How many bytes fit behind what is filled.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.memory.len() - self.filled
    }

    /// Where the room begins; it is good for writing `room` bytes until the buffer is used otherwise.
    #[inline]
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.memory[self.filled..].as_mut_ptr().cast()
    }

    /// Notes that the room begins `count` bytes later.
    ///
    /// # Safety
    ///
    /// There was room for `count` bytes, and as many were written from `start` on.
    #[inline]
    pub(crate) unsafe fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// What is filled.
    #[inline]
    pub(crate) fn filled(&self) -> &[u8] {
        let filled = &self.memory[..self.filled];
        // SAFETY: initialised (see the invariant); `MaybeUninit<u8>` has the layout of `u8`.
        unsafe { &*(std::ptr::from_ref(filled) as *const [u8]) }
    }

    /// Copies as much of `data` as there is room for.
    pub(crate) fn put(&mut self, data: &[u8]) {
        let count = data.len().min(self.room());
        let start = self.start();
        // SAFETY: both are good for `count` bytes, and a unique borrow does not overlap with another.
        unsafe { start.copy_from_nonoverlapping(data.as_ptr(), count) };
        // SAFETY: just written, and no more than fit.
        unsafe { self.advance(count) };
    }

    /// The first `size` bytes of the room, as a buffer of their own.
    pub(crate) fn part(&mut self, size: usize) -> ReadBuffer<'_> {
        let size = size.min(self.room());
        ReadBuffer::new(&mut self.memory[self.filled..][..size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_filled() {
        let mut memory = [MaybeUninit::uninit(); 4];
        let mut buffer = ReadBuffer::new(&mut memory);
        assert_eq!((buffer.filled(), buffer.room()), (&b""[..], 4));
        buffer.put(b"abc");
        assert_eq!((buffer.filled(), buffer.room()), (&b"abc"[..], 1));
        buffer.put(b"de");
        assert_eq!((buffer.filled(), buffer.room()), (&b"abcd"[..], 0));
        buffer.put(b"f");
        assert_eq!(buffer.filled(), b"abcd");
    }

    #[test]
    fn a_part_is_filled_on_its_own() {
        let mut memory = [MaybeUninit::uninit(); 4];
        let mut buffer = ReadBuffer::new(&mut memory);
        buffer.put(b"a");
        let mut part = buffer.part(2);
        part.put(b"xyz");
        assert_eq!(part.filled(), b"xy");
        assert_eq!(buffer.filled(), b"a");
        assert_eq!(buffer.part(9).room(), 3);
    }
}
