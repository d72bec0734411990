//! A stand-in: there is no collector.

use pyo3::prelude::*;

use super::handle::Handle;
use super::owner::Stopped;

pub(crate) fn untrack_unless_shared(handle: &Bound<'_, Handle>, held: usize) {
    assert!(
        handle.as_unbound().references() >= held,
        "fewer references than were said"
    );
}

pub(crate) fn objects(
    _handle: &Py<Handle>,
    _stopped: Stopped<'_>,
    _visit: &mut dyn FnMut(&Py<PyAny>),
) {
}
