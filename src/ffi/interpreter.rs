//! Which of the process's interpreters this is.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Returns `ImportError` in a subinterpreter, because classes, free lists and cached objects are process-wide.
pub(crate) fn refuse_other_interpreters(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached.
    let this = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: may be called at any time once there is an interpreter.
    if this == unsafe { ffi::PyInterpreterState_Main() } {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "yamanote works in the main interpreter only, not in a sub-interpreter",
    ))
}
