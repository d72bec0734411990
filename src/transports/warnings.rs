//! Warnings about objects that the program did not close or await.

use pyo3::exceptions::{PyResourceWarning, PyRuntimeWarning};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::ffi::{make, name};

/// Looks up `warnings.warn` early, because finalizers cannot import it while the interpreter shuts down.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    warn_function(py).map(drop)
}

/// The warning about a transport that was dropped before it was closed.
pub(super) fn unclosed(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let message = format!("unclosed transport {}", transport.repr()?);
    let category = transport.py().get_type::<PyResourceWarning>();
    warn(transport, &message, &category)
}

/// The interpreter's warning about a coroutine that was never awaited, for one of our awaitables.
pub(crate) fn never_awaited(coroutine: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
    let message = format!("coroutine '{name}' was never awaited");
    let category = coroutine.py().get_type::<PyRuntimeWarning>();
    warn(coroutine, &message, &category)
}

fn warn(source: &Bound<'_, PyAny>, message: &str, category: &Bound<'_, PyType>) -> PyResult<()> {
    let py = source.py();
    let keywords = make::dict(py)?;
    keywords.set_item(name!(py, "source"), source)?;
    warn_function(py)?
        .call((make::string(py, message)?, category), Some(&keywords))
        .map(drop)
}

fn warn_function(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static WARN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    make::imported(&WARN, py, "warnings", "warn")
}
