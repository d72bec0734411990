//! asyncio's logger.

use std::cell::Cell;

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::make;

/// Logs at `level`, which is the name of a method of the logger.
pub(crate) fn log<'py>(
    py: Python<'py>,
    level: &str,
    arguments: impl PyCallArgs<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<()> {
    let logger = make::import(py, "asyncio.log", "logger")?;
    logger.call_method(level, arguments, keywords).map(drop)
}

/// Counts a write after the end of a connection; warns from the sixth such write on, as asyncio does.
pub(crate) fn count_lost_write(py: Python<'_>, count: &Cell<usize>, text: &str) -> PyResult<()> {
    if count.get() >= LOG_THRESHOLD {
        log(py, "warning", (text,), None)?;
    }
    count.set(count.get() + 1);
    Ok(())
}

/// asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES` (`constants.py`).
const LOG_THRESHOLD: usize = 5;
