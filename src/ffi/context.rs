//! `contextvars.Context`, entered and left natively.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::reference::returned;

/// A copy of the calling thread's current context.
#[inline]
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: `py` proves that the thread is attached.
    let copy = unsafe { ffi::PyContext_CopyCurrent() };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(py, copy) }
}

/// Returns the given context, or a copy of the current one for `None`. Any other object is a `TypeError`.
pub(crate) fn given_or_current<'py>(
    py: Python<'py>,
    given: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(context) = given else {
        return copy_current(py);
    };
    // SAFETY: a live object; this only reads its class.
    if unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } == 0 {
        return Err(PyTypeError::new_err(format!(
            "a contextvars.Context was expected, got {}",
            context.get_type().name()?
        )));
    }
    Ok(context.clone())
}

/// A copy of `context`.
pub(crate) fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = context.py();
    // SAFETY: attached, and the pointer comes from a live `Bound`. An object that is not a context raises an
    // exception.
    let copy = unsafe { ffi::PyContext_Copy(context.as_ptr()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(py, copy) }
}

/// Runs `call` inside `context`, and exits the context on every path.
#[inline]
pub(crate) fn run_in<'py, R>(
    context: &Bound<'py, PyAny>,
    call: impl FnOnce(Python<'py>) -> PyResult<R>,
) -> PyResult<R> {
    let py = context.py();
    let Some(entered) = Entered::enter(context) else {
        return Err(PyErr::fetch(py));
    };
    let result = call(py);
    if !entered.leave() {
        return Err(PyErr::fetch(py));
    }
    result
}

/// A context that the thread has entered.
pub(super) struct Entered<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Entered<'a, 'py> {
    /// Returns `None` with an exception set on failure.
    #[inline]
    pub(super) fn enter(context: &'a Bound<'py, PyAny>) -> Option<Self> {
        // SAFETY: attached, and the pointer comes from a live `Bound`. An object that is not a context raises an
        // exception.
        let result = unsafe { ffi::PyContext_Enter(context.as_ptr()) };
        // Created only on success, because its drop exits the context.
        (result >= 0).then(|| Self(context))
    }

    /// Returns `false` with an exception set on failure. An exception may be set before the call, as in CPython's
    /// `Context.run`.
    #[inline]
    pub(super) fn leave(self) -> bool {
        // SAFETY: attached; `enter` entered this context, and only this call exits it.
        let result = unsafe { ffi::PyContext_Exit(self.0.as_ptr()) };
        std::mem::forget(self);
        result >= 0
    }
}

impl Drop for Entered<'_, '_> {
    /// A panic is unwinding: exit the context all the same.
    fn drop(&mut self) {
        // SAFETY: attached; `enter` entered this context, and only this call exits it.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            // Ignored: the panic is the error that is reported.
            drop(PyErr::fetch(self.0.py()));
        }
    }
}
