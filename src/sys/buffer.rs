//! The memory that a read fills.

use std::mem::MaybeUninit;

/// Memory for a read, and how many bytes at its front are known to be initialised.
///
/// The memory is only reached through a raw pointer, so bytes that are already filled stay valid even where another
/// object owns them.
#[derive(Debug)]
pub(crate) struct ReadBuffer<'a> {
    memory: &'a mut [MaybeUninit<u8>],
    /// # Invariant
    ///
    /// At most the length of the memory; the first `filled` bytes are initialised.
    filled: usize,
}

impl<'a> ReadBuffer<'a> {
    /// Wraps `memory`, with nothing filled yet.
    pub(crate) fn new(memory: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { memory, filled: 0 }
    }

    /// The number of bytes that still fit behind the filled part.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.memory.len() - self.filled
    }

    /// Where the unfilled part begins. Valid for writing `room` bytes until the buffer is used again.
    #[inline]
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.memory[self.filled..].as_mut_ptr().cast()
    }

    /// Marks the next `count` bytes as filled.
    ///
    /// # Safety
    ///
    /// `count` is at most `room`, and `count` bytes from `start` on have been written.
    #[inline]
    pub(crate) unsafe fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// The bytes that are filled.
    #[inline]
    pub(crate) fn filled(&self) -> &[u8] {
        let filled = &self.memory[..self.filled];
        // SAFETY: these bytes are initialised (see the invariant), and `MaybeUninit<u8>` has the layout of `u8`.
        unsafe { &*(std::ptr::from_ref(filled) as *const [u8]) }
    }

    /// Copies `data`, or as much of it as fits.
    pub(crate) fn put(&mut self, data: &[u8]) {
        let count = data.len().min(self.room());
        let start = self.start();
        // SAFETY: both pointers are valid for `count` bytes, and a unique borrow does not overlap with another
        // borrow.
        unsafe { start.copy_from_nonoverlapping(data.as_ptr(), count) };
        // SAFETY: the line above wrote `count` bytes, and `count` is at most `room`.
        unsafe { self.advance(count) };
    }

    /// The first `size` bytes of the unfilled part, as a separate buffer.
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
