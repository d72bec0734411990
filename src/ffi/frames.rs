//! The Python frame that calls.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyFrame;

use super::reference::borrowed;

/// The innermost frame of Python code on this thread, or `None` if there is none.
pub(crate) fn current(py: Python<'_>) -> Option<Bound<'_, PyFrame>> {
    // SAFETY: attached. The result is a borrowed reference or null, without an exception.
    let frame = unsafe { ffi::PyEval_GetFrame() }.cast::<ffi::PyObject>();
    // SAFETY: null or a frame, which lives at least as long as the call that its thread is in: this one.
    (!frame.is_null()).then(|| unsafe { borrowed::<PyFrame>(py, &frame) }.clone())
}
