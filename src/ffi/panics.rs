//! Panics at the boundary with Python, and exceptions for which there is no memory.

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;

/// Calls `call`; a panic becomes the exception that [`panicked`] creates.
#[inline]
pub(crate) fn caught<T>(call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(panic) => Err(panicked(&*panic)),
    }
}

/// The exception for a panic. PyO3 panics if the interpreter has no memory for a small object.
#[cold]
pub(super) fn panicked(panic: &(dyn Any + Send)) -> PyErr {
    let said = message(panic);
    if OUT_OF_MEMORY.contains(&said) {
        return PyMemoryError::new_err(());
    }
    PyRuntimeError::new_err(format!("yamanote panicked, please report this: {said}"))
}

/// Raises `error`, or `MemoryError` if there is no memory to create it.
///
/// PyO3 creates most exceptions when they are raised, and panics when it cannot.
#[cold]
pub(super) fn raise(py: Python<'_>, error: PyErr) {
    if catch_unwind(AssertUnwindSafe(|| error.restore(py))).is_err() {
        no_memory(py).restore(py);
    }
}

/// `result` with its exception object created, so that raising it needs no more memory.
pub(crate) fn made<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<T> {
    result.map_err(|error| {
        let make = || {
            error.value(py);
        };
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(()) => error,
            Err(_) => no_memory(py),
        }
    })
}

/// The `MemoryError` that the interpreter keeps in reserve.
fn no_memory(py: Python<'_>) -> PyErr {
    // SAFETY: attached; may be called whatever exception is set, and always returns null.
    unsafe { ffi::PyErr_NoMemory() };
    PyErr::fetch(py)
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// Whether PyO3 panics because memory ran out. That becomes a `MemoryError`, and nothing should be printed.
pub(crate) fn is_want_of_memory(panic: &PanicHookInfo<'_>) -> bool {
    let of_pyo3 = |location: &Location<'_>| location.file().contains("pyo3");
    panic.location().is_some_and(of_pyo3) && OUT_OF_MEMORY.contains(&message(panic.payload()))
}

/// PyO3's messages when the interpreter returned null.
const OUT_OF_MEMORY: [&str; 2] = ["PyObject pointer is null", "Python API call failed"];
