//! The table of sources, and the keys that events carry.

use std::sync::Arc;

/// From key to source. A key carries a generation: the events of a source that is gone find nothing.
pub(super) struct Sources<S: ?Sized> {
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
}

struct Entry<S: ?Sized> {
    generation: u32,
    source: Option<Arc<S>>,
}

impl<S: ?Sized> Default for Sources<S> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<S: ?Sized> Sources<S> {
    pub(super) fn insert(&mut self, source: Arc<S>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 1,
                source: None,
            });
            u32::try_from(self.entries.len() - 1)
                .expect("there are fewer descriptors than u32::MAX")
        });
        let entry = &mut self.entries[index as usize];
        entry.source = Some(source);
        key(entry.generation, index)
    }

    /// Forgets the source; events that carry its key find nothing from now on.
    pub(super) fn remove(&mut self, key: u64) -> Option<Arc<S>> {
        let (generation, index) = parts(key);
        let entry = self.live(generation, index)?;
        let source = entry.source.take();
        entry.generation = entry.generation.wrapping_add(1).max(1);
        self.free.push(index);
        source
    }

    /// Lends the source for as long as it handles an event: a move, where a count would be two locked instructions.
    pub(super) fn take(&mut self, key: u64) -> Option<Arc<S>> {
        let (generation, index) = parts(key);
        self.live(generation, index)?.source.take()
    }

    /// Another reference to the source, unless it is lent or was forgotten.
    pub(super) fn get(&self, key: u64) -> Option<Arc<S>> {
        let (generation, index) = parts(key);
        let entry = self.entries.get(index as usize)?;
        entry
            .source
            .clone()
            .filter(|_| entry.generation == generation)
    }

    /// Puts it back, unless it was forgotten meanwhile; then the caller drops it.
    pub(super) fn put_back(&mut self, key: u64, source: Arc<S>) -> Option<Arc<S>> {
        let (generation, index) = parts(key);
        match self.live(generation, index) {
            Some(entry) => entry.source.replace(source),
            None => Some(source),
        }
    }

    fn live(&mut self, generation: u32, index: u32) -> Option<&mut Entry<S>> {
        self.entries
            .get_mut(index as usize)
            .filter(|entry| entry.generation == generation)
    }

    /// How many there are, with the one that handles an event.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<S>> {
        self.entries
            .iter()
            .filter_map(|entry| entry.source.as_ref())
    }
}

/// What a slot carries that has no source: its events are dropped. Generations begin at 1.
pub(crate) const NO_KEY: u64 = 0;

fn key(generation: u32, index: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "splits a word into its halves"
)]
fn parts(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}
