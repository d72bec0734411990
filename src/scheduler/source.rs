//! Something other than a callback that a turn can run.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::prelude::*;

use super::{Core, Local};
use crate::ffi::Stopped;

pub(crate) use crate::driver::{READ, WRITE};

/// What the collector is shown objects with.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&Py<PyAny>);

/// The owner of a registered descriptor.
pub(crate) trait Source: Send + Sync {
    /// Handles what became ready (`READ`, `WRITE`) since the last call. On the loop's thread.
    ///
    /// `SystemExit` and `KeyboardInterrupt` end the run. What else is known to fail is reported where it happens,
    /// in asyncio's words; the rest goes to `on_failed`.
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()>;

    /// Anything else got out of `on_ready`: ends what cannot go on, or has it go on. What this raises, the turn
    /// reports.
    fn on_failed(&self, _core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
        Err(error)
    }

    /// What to tell it when it is not known what happened while it handled an event: what it then looks at is at
    /// worst as it was.
    fn again(&self) -> u8 {
        READ | WRITE
    }

    /// In a forked child, whose loop starts on a reactor of its own: has it watch the descriptor.
    ///
    /// The reactor tells of what is ready already. A source that does nothing here gets no event in the child.
    fn renew(&self, _py: Python<'_>, _local: &Local) {}

    /// The loop is closed, and about to forget this source. Attached, on the closing thread.
    fn on_close(&self, _core: &Core, _py: Python<'_>) {}

    /// The transport that this is, if it owns `fd`.
    fn transport<'py>(&self, _py: Python<'py>, _fd: RawFd) -> Option<Bound<'py, PyAny>> {
        None
    }

    /// Shows every Python object held.
    fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>);
}

/// From key to source. A key carries a generation: the events of a source that is gone find nothing.
#[derive(Default)]
pub(super) struct Sources {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

struct Entry {
    generation: u32,
    source: Option<Arc<dyn Source>>,
}

impl Sources {
    pub(super) fn insert(&mut self, source: Arc<dyn Source>) -> u64 {
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
    pub(super) fn remove(&mut self, key: u64) -> Option<Arc<dyn Source>> {
        let (generation, index) = parts(key);
        let entry = self.live(generation, index)?;
        let source = entry.source.take();
        entry.generation = entry.generation.wrapping_add(1).max(1);
        self.free.push(index);
        source
    }

    /// Lends the source for as long as it handles an event: a move, where a count would be two locked instructions.
    pub(super) fn take(&mut self, key: u64) -> Option<Arc<dyn Source>> {
        let (generation, index) = parts(key);
        self.live(generation, index)?.source.take()
    }

    /// Another reference to the source, unless it is lent or was forgotten.
    pub(super) fn get(&self, key: u64) -> Option<Arc<dyn Source>> {
        let (generation, index) = parts(key);
        let entry = self.entries.get(index as usize)?;
        entry
            .source
            .clone()
            .filter(|_| entry.generation == generation)
    }

    /// Puts it back, unless it was forgotten meanwhile; then the caller drops it.
    pub(super) fn put_back(
        &mut self,
        key: u64,
        source: Arc<dyn Source>,
    ) -> Option<Arc<dyn Source>> {
        let (generation, index) = parts(key);
        match self.live(generation, index) {
            Some(entry) => entry.source.replace(source),
            None => Some(source),
        }
    }

    fn live(&mut self, generation: u32, index: u32) -> Option<&mut Entry> {
        self.entries
            .get_mut(index as usize)
            .filter(|entry| entry.generation == generation)
    }

    /// How many there are, with the one that handles an event.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.entries
            .iter()
            .filter_map(|entry| entry.source.as_ref())
    }
}

/// What a slot carries that has no source: its events are dropped. Generations begin at 1.
pub(crate) const NOBODY: u64 = 0;

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
