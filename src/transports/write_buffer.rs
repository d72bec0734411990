//! Bytes that wait for room in the kernel.

use std::collections::{TryReserveError, VecDeque};
use std::io::IoSlice;

use crate::sys::fork::Generation;

/// What will send the buffered bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// The buffer is empty.
    Idle,
    /// The end of the callback that wrote.
    Queued,
    /// The reactor, when the kernel has room again.
    Blocked,
}

/// A queue of chunks, sent from the front. `B` is a reference to immutable bytes that Python owns.
///
/// If allocating memory fails, the queue is unchanged.
#[derive(Debug)]
pub(crate) struct WriteBuffer<B> {
    chunks: VecDeque<Chunk<B>>,
    /// Bytes of the first chunk that were sent already.
    sent: usize,
    length: usize,
    /// The process that wrote the bytes: a forked child must not send its parent's.
    written_in: Generation,
}

#[derive(Debug)]
enum Chunk<B> {
    Copied(Vec<u8>),
    Shared(B),
}

/// A snapshot of the queue's state.
#[derive(Debug)]
pub(crate) struct Mark {
    chunks: usize,
    /// The length of the last chunk.
    tail: usize,
    length: usize,
}

impl<B: AsRef<[u8]>> WriteBuffer<B> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            sent: 0,
            length: 0,
            written_in: Generation::current(),
        }
    }

    /// Whether the process forked since the bytes, if any, were written: then its parent sends them.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.written_in.is_over()
    }

    /// The number of unsent bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Queues immutable bytes without copying them, unless they are few and others precede them.
    pub(crate) fn push(&mut self, bytes: B) -> Result<(), TryReserveError> {
        let length = bytes.as_ref().len();
        if length < COPY_BELOW && !self.chunks.is_empty() {
            return self.push_copy(bytes.as_ref());
        }
        if length > 0 {
            self.push_chunk(Chunk::Shared(bytes))?;
        }
        Ok(())
    }

    /// Queues a copy.
    pub(crate) fn push_copy(&mut self, bytes: &[u8]) -> Result<(), TryReserveError> {
        match self.chunks.back_mut() {
            Some(Chunk::Copied(tail)) if tail.len() + bytes.len() <= COPIED_CHUNK => {
                tail.try_reserve(bytes.len())?;
                tail.extend_from_slice(bytes);
                self.length += bytes.len();
                Ok(())
            }
            _ if bytes.is_empty() => Ok(()),
            _ => {
                let mut copy = Vec::new();
                copy.try_reserve_exact(bytes.len())?;
                copy.extend_from_slice(bytes);
                self.push_chunk(Chunk::Copied(copy))
            }
        }
    }

    /// Queues bytes without other owners, not copying them unless they are few and others precede them.
    pub(crate) fn push_owned(&mut self, bytes: Vec<u8>) -> Result<(), TryReserveError> {
        if bytes.len() < COPY_BELOW && !self.chunks.is_empty() {
            return self.push_copy(&bytes);
        }
        if !bytes.is_empty() {
            self.push_chunk(Chunk::Copied(bytes))?;
        }
        Ok(())
    }

    /// Queues a copy into `room`, which was allocated beforehand and is shrunk where it would mostly stay empty.
    pub(crate) fn push_into(
        &mut self,
        mut room: Vec<u8>,
        bytes: &[u8],
    ) -> Result<(), TryReserveError> {
        if bytes.len() < room.capacity() / 2 && self.push_copy(bytes).is_ok() {
            return Ok(());
        }
        room.try_reserve_exact(bytes.len())?;
        room.extend_from_slice(bytes);
        self.push_owned(room)
    }

    fn push_chunk(&mut self, chunk: Chunk<B>) -> Result<(), TryReserveError> {
        self.chunks.try_reserve(1)?;
        self.length += chunk.bytes().len();
        self.chunks.push_back(chunk);
        Ok(())
    }

    /// The current state, for [`WriteBuffer::undo`].
    pub(crate) fn mark(&self) -> Mark {
        let tail = self.chunks.back().map_or(0, |chunk| chunk.bytes().len());
        Mark {
            chunks: self.chunks.len(),
            tail,
            length: self.length,
        }
    }

    /// Removes everything pushed since `mark`. Nothing may have been sent in between.
    pub(crate) fn undo(&mut self, mark: &Mark) {
        self.chunks.truncate(mark.chunks);
        if let Some(Chunk::Copied(tail)) = self.chunks.back_mut() {
            tail.truncate(mark.tail);
        }
        self.length = mark.length;
    }

    /// The first unsent bytes, if all are in one chunk.
    #[inline]
    pub(crate) fn single(&self) -> Option<&[u8]> {
        if self.chunks.len() == 1 {
            Some(&self.chunks.front()?.bytes()[self.sent..])
        } else {
            None
        }
    }

    /// Puts unsent bytes, in order from the front, into `slices`; returns how many slices were set.
    pub(crate) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut sent = self.sent;
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[sent..]);
            sent = 0;
            count += 1;
        }
        count
    }

    /// Removes `count` bytes from the front, which the kernel took. Returns the last reference that this releases, if
    /// any.
    pub(crate) fn advance(&mut self, count: usize) -> Option<B> {
        self.length -= count;
        self.sent += count;
        let mut over = None;
        while let Some(first) = self.chunks.front() {
            let length = first.bytes().len();
            if self.sent < length {
                break;
            }
            self.sent -= length;
            if let Some(Chunk::Shared(bytes)) = self.chunks.pop_front() {
                over = Some(bytes);
            }
        }
        over
    }

    /// Removes everything unsent.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<B: AsRef<[u8]>> Chunk<B> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes.as_ref(),
        }
    }
}

/// Below this size, a copy is cheaper than another slice for the kernel.
const COPY_BELOW: usize = 1024;
/// Maximum size of a chunk that gathers copies.
const COPIED_CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn unsent(buffer: &WriteBuffer<Vec<u8>>) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = buffer.fill(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    /// Agrees with a plain vector over a long random sequence of pushes and sends.
    #[test]
    fn agrees_with_a_vector() {
        let mut state = 0x9e37_79b9_u32;
        let mut random = move |below: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state % below) as usize
        };
        let (mut buffer, mut model) = (WriteBuffer::new(), Vec::new());
        // Miri takes a thousand times as long for each.
        let steps: u32 = if cfg!(miri) { 12 } else { 2_000 };
        for step in 0..steps {
            let bytes = vec![step.to_le_bytes()[0]; random(1_500)];
            let mark = buffer.mark();
            let pushed = match random(4) {
                0 => buffer.push_copy(&bytes),
                1 => buffer.push_owned(bytes.clone()),
                2 => buffer.push_into(Vec::with_capacity(random(3_000)), &bytes),
                _ => buffer.push(bytes.clone()),
            };
            pushed.unwrap();
            if random(5) == 0 {
                buffer.undo(&mark);
            } else {
                model.extend_from_slice(&bytes);
            }
            while model.len() > 6_000 {
                let count = random(u32::try_from(model.len()).unwrap()) + 1;
                buffer.advance(count);
                model.drain(..count);
            }
            assert_eq!(buffer.len(), model.len());
            assert_eq!(buffer.is_empty(), model.is_empty());
            assert_eq!(unsent(&buffer), model);
            if let Some(single) = buffer.single() {
                assert_eq!(single, model);
            }
        }
        buffer.clear();
        assert!(buffer.is_empty());
    }
}
