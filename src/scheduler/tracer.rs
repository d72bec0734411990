//! Records what a loop does, for `yamanote.trace()`.

mod recording;
mod ring;

use std::sync::Arc;

use pyo3::prelude::*;

use self::recording::Recording;
pub(crate) use self::recording::{Event, Kind};
use super::meters::Meters;
use crate::ffi::Guarded;
use crate::ffi::naming::Called;

/// The recorder of one loop. It outlives the loop, if a trace still needs what it has recorded.
#[derive(Debug)]
pub(crate) struct Tracer {
    taking: Guarded<Taking>,
    meters: Arc<Meters>,
}

/// # Invariant
///
/// A number stands for one event only, also across recordings: so the end of a slice that a recording before this one
/// has begun finds nothing.
#[derive(Debug)]
struct Taking {
    recording: Option<Recording>,
    next: u64,
}

/// A slice of time that lasts until this is dropped.
pub(crate) struct Slice<'a, 'py> {
    py: Python<'py>,
    tracer: &'a Tracer,
    number: u64,
}

impl Tracer {
    pub(super) fn new(meters: Arc<Meters>) -> Self {
        let taking = Taking {
            recording: None,
            next: 1,
        };
        Self {
            taking: Guarded::new(taking),
            meters,
        }
    }

    /// Starts to keep the last `capacity` events; see [`Recording::new`].
    pub(super) fn start(&self, py: Python<'_>, capacity: usize) {
        let before = self.taking.with(py, |taking| {
            let recording = Recording::new(capacity, taking.next, &self.meters.phases);
            taking.recording.replace(recording)
        });
        drop(before);
    }

    /// Ends the recording. Returns its events in the order of their beginnings, and how many were dropped.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<(Vec<Event>, u64)> {
        let recording = self.taking.with(py, |taking| {
            let recording = taking.recording.take();
            taking.next = recording.as_ref().map_or(taking.next, Recording::next);
            recording
        });
        recording.map_or(Ok((Vec::new(), 0)), |recording| {
            recording.finish(&self.meters.phases)
        })
    }

    /// How many events are held, and how many were dropped.
    pub(crate) fn counts(&self, py: Python<'_>) -> (usize, u64) {
        self.taking.with(py, |taking| {
            let recording = taking.recording.as_ref();
            recording.map_or((0, 0), |recording| (recording.len(), recording.dropped()))
        })
    }

    /// In a forked child: forgets what the parent records.
    pub(super) fn forked(&self, py: Python<'_>) {
        // While another thread of the parent recorded, it stays locked: then this loop is not recorded in the child.
        let recording = self.taking.try_with(py, |taking| taking.recording.take());
        drop(recording);
    }

    /// A slice begins; it ends when the result is dropped.
    #[inline]
    pub(super) fn slice<'py>(
        &self,
        py: Python<'py>,
        kind: Kind,
        called: Option<Called>,
    ) -> Slice<'_, 'py> {
        let phases = &self.meters.phases;
        let (number, gone, before) =
            self.taking
                .with(py, |taking| match taking.recording.as_mut() {
                    Some(recording) => recording.begin(kind, called, phases),
                    None => (0, called, [const { None }; 3]),
                });
        drop((gone, before));
        Slice {
            py,
            tracer: self,
            number,
        }
    }

    /// A turn is about to end that perhaps had no slice.
    #[cold]
    pub(super) fn note_turn(&self, py: Python<'_>) {
        let phases = &self.meters.phases;
        let gone = self.record(py, |recording| recording.note_turn(phases));
        drop(gone);
    }

    pub(super) fn begin_run(&self, py: Python<'_>, is_nested: bool) {
        let phases = &self.meters.phases;
        self.record(py, |recording| {
            recording.begin_run(is_nested, phases);
        });
    }

    pub(super) fn end_run(&self, py: Python<'_>, is_nested: bool) {
        let phases = &self.meters.phases;
        let gone = self.record(py, |recording| recording.end_run(is_nested, phases));
        drop(gone);
    }

    fn record<R>(&self, py: Python<'_>, record: impl FnOnce(&mut Recording) -> R) -> Option<R> {
        self.taking
            .with(py, |taking| taking.recording.as_mut().map(record))
    }
}

impl Drop for Slice<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        let number = self.number;
        self.tracer
            .record(self.py, |recording| recording.end(number));
    }
}
