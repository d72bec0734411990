//! A bounded queue that overwrites its oldest items.

/// The last items of a sequence. Its memory grows with what it holds, up to the bound.
#[derive(Debug)]
pub(super) struct Ring<T> {
    chunks: Vec<Vec<T>>,
    capacity: usize,
    /// Where the next item goes.
    at: usize,
    /// The numbers of the first item that came, and of the next one.
    first: u64,
    next: u64,
    /// Items that there was no memory for.
    refused: u64,
}

impl<T> Ring<T> {
    /// An empty ring for at least one item; the first one gets the number `first`.
    pub(super) fn new(capacity: usize, first: u64) -> Self {
        Self {
            chunks: Vec::new(),
            capacity: capacity.max(1),
            at: 0,
            first,
            next: first,
            refused: 0,
        }
    }

    /// Adds an item. Returns its number, and the item that it overwrites; without memory no number, and the item itself.
    #[inline]
    pub(super) fn push(&mut self, item: T) -> (Option<u64>, Option<T>) {
        let (chunk, place) = (self.at / CHUNK, self.at % CHUNK);
        let gone = match self.chunks.get_mut(chunk) {
            Some(items) if place < items.len() => Some(std::mem::replace(&mut items[place], item)),
            Some(items) if items.len() < items.capacity() => {
                items.push(item);
                None
            }
            _ => match self.grow(item) {
                Ok(()) => None,
                Err(item) => return (None, Some(item)),
            },
        };
        self.at += 1;
        if self.at == self.capacity {
            self.at = 0;
        }
        let number = self.next;
        self.next += 1;
        (Some(number), gone)
    }

    /// The item of that number, unless it was overwritten.
    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        if number < self.first || number >= self.next {
            return None;
        }
        let age = usize::try_from(self.next - number).ok()?;
        if age > self.capacity {
            return None;
        }
        let index = if self.at >= age {
            self.at - age
        } else {
            self.at + self.capacity - age
        };
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// The number of the next item.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many items it holds.
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// How many items came and are not here.
    pub(super) fn dropped(&self) -> u64 {
        self.next - self.first - self.len() as u64 + self.refused
    }

    /// The items, in no order.
    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.chunks.into_iter().flatten()
    }

    /// Adds an item for which a new chunk is needed.
    #[cold]
    fn grow(&mut self, item: T) -> Result<(), T> {
        let mut items = Vec::new();
        let size = CHUNK.min(self.capacity - self.at);
        if self.chunks.try_reserve(1).is_err() || items.try_reserve_exact(size).is_err() {
            self.refused += 1;
            return Err(item);
        }
        items.push(item);
        self.chunks.push(items);
        Ok(())
    }
}

/// Items that get memory at once: about 200 KiB.
const CHUNK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_last_items_and_finds_them_by_number() {
        for capacity in [1, 2, 7, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let mut ring = Ring::new(capacity, 5);
            let all = 2 * capacity as u64 + 3;
            for item in 0..all {
                let (number, gone) = ring.push(item);
                assert_eq!(number, Some(item + 5));
                assert_eq!(gone, item.checked_sub(capacity as u64));
            }
            assert_eq!(
                (ring.len(), ring.dropped()),
                (capacity, all - capacity as u64)
            );
            for item in 0..all + 10 {
                let is_here = item >= all - capacity as u64 && item < all;
                assert_eq!(ring.get_mut(item + 5).copied(), is_here.then_some(item));
            }
            assert_eq!(ring.get_mut(4), None);
            let mut left: Vec<_> = ring.into_items().collect();
            left.sort_unstable();
            assert_eq!(left, (all - capacity as u64..all).collect::<Vec<_>>());
        }
    }
}
