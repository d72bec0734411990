//! Errors that must not leave the turn.

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::Core;
use crate::ffi::handle;
use crate::ffi::name;

/// Whether an exception ends the run rather than being reported.
pub(crate) fn is_exit(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Handles every error that a source, a callback, a protocol or a report lets through: calls the exception handler,
/// and returns only errors that end the run. `culprit` is the object that failed, if known.
#[inline]
pub(super) fn contain(
    core: &Bound<'_, Core>,
    culprit: Option<&Bound<'_, PyAny>>,
    result: PyResult<()>,
) -> PyResult<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => report(core, culprit, error),
    }
}

#[cold]
fn report(
    core: &Bound<'_, Core>,
    culprit: Option<&Bound<'_, PyAny>>,
    error: PyErr,
) -> PyResult<()> {
    let py = core.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let culprit = culprit.map(|culprit| (role(culprit), Some(culprit)));
    let message = "Exception in the event loop";
    match super::report::report(core, message, &error, culprit.as_slice()) {
        Ok(()) => Ok(()),
        Err(untold) if is_exit(py, &untold) => Err(untold),
        Err(untold) => {
            // The logger itself failed; Python's unraisable hook is the last place to report the error.
            because(py, untold, error).write_unraisable(py, Some(core));
            Ok(())
        }
    }
}

/// `error`, which was raised while `cause` was being reported.
pub(super) fn because(py: Python<'_>, error: PyErr, cause: PyErr) -> PyErr {
    if !error.value(py).is(cause.value(py)) {
        error.set_cause(py, Some(cause));
    }
    error
}

/// asyncio's key for the object in the exception handler's context.
fn role<'py>(culprit: &Bound<'py, PyAny>) -> &'py Bound<'py, PyString> {
    let py = culprit.py();
    if handle::downcast(culprit).is_some() {
        return name!(py, "handle");
    }
    let is_future = culprit.hasattr(name!(py, "add_done_callback"));
    if is_future.unwrap_or(false) {
        name!(py, "future")
    } else {
        name!(py, "transport")
    }
}
