//! Calls of the loop's exception handler.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::Core;
use crate::ffi::{make, name};

/// Calls the loop's exception handler with a context of `message`, `exception` and `more`.
pub(crate) fn report(
    core: &Bound<'_, Core>,
    message: &str,
    error: &PyErr,
    more: &[(&Bound<'_, PyString>, Option<&Bound<'_, PyAny>>)],
) -> PyResult<()> {
    let py = core.py();
    let context = make::dict(py)?;
    context.set_item(name!(py, "message"), make::string(py, message)?)?;
    context.set_item(name!(py, "exception"), error.value(py))?;
    for (key, value) in more {
        context.set_item(key, value)?;
    }
    core.call_method1(name!(py, "call_exception_handler"), (context,))
        .map(drop)
}
