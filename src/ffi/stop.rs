//! `StopIteration`, with which a native coroutine returns its value to `await`.

use pyo3::exceptions::{PyBaseException, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

pub(crate) use reused::forget_value;
pub(super) use reused::set;

/// Sets a new `StopIteration(value)`.
pub(super) fn set_new(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let class = value.py().get_type::<PyStopIteration>();
    // Passed directly, a tuple would become the arguments of the exception, and an exception would become the
    // exception.
    let is_taken_apart =
        value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>();
    let argument = if is_taken_apart {
        class.call1((value,))?
    } else {
        value.clone()
    };
    // SAFETY: attached; a live class and a live value, both borrowed.
    unsafe { ffi::PyErr_SetObject(class.as_ptr(), argument.as_ptr()) };
    Ok(())
}

/// One exception for all: `await` only takes the value out of it. It is made anew if other code has kept it.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
mod reused {
    use std::cell::UnsafeCell;
    use std::ptr;

    use pyo3::exceptions::PyStopIteration;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    /// In bytes: beyond, a new exception costs next to nothing.
    const LARGE: usize = 256 * 1024;

    /// The fields that every exception begins with. PyO3 declares the last one, a C `char`, as one of Rust.
    #[repr(C)]
    struct Head {
        base: ffi::PyObject,
        dict: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        notes: *mut ffi::PyObject,
        traceback: *mut ffi::PyObject,
        context: *mut ffi::PyObject,
        cause: *mut ffi::PyObject,
        suppress_context: std::ffi::c_char,
    }

    struct Stop(UnsafeCell<*mut ffi::PyStopIterationObject>);

    // SAFETY: used by the functions below, attached: the GIL admits one thread, and they read and write it without
    // running Python code in between.
    unsafe impl Sync for Stop {}

    /// An owned reference, or null.
    static STOP: Stop = Stop(UnsafeCell::new(ptr::null_mut()));

    /// Sets `StopIteration` with this value.
    #[inline]
    pub(in crate::ffi) fn set(value: Bound<'_, PyAny>) -> PyResult<()> {
        let py = value.py();
        // The coroutine that returned it may live on, and the value until then.
        let bytes = value.cast_exact::<PyBytes>();
        if bytes.is_ok_and(|bytes| bytes.as_bytes().len() > LARGE) {
            return super::set_new(&value);
        }
        let stop = match ours_alone(py) {
            Some(stop) => stop,
            None => renew(py)?,
        };
        replace_value(py, stop, value.into_ptr());
        // SAFETY: a live exception.
        let raised = unsafe { ffi::Py_NewRef(stop.cast()) };
        // SAFETY: attached; the new reference goes to the interpreter.
        unsafe { ffi::PyErr_SetRaisedException(raised) };
        Ok(())
    }

    /// Lets go of the value, which `await` has taken; and of an exception that other code has touched, with its frames.
    /// Destructors may run.
    #[inline]
    pub(crate) fn forget_value(py: Python<'_>) {
        match ours_alone(py) {
            Some(stop) => replace_value(py, stop, ptr::null_mut()),
            None => replace(py, ptr::null_mut()),
        }
    }

    /// The exception, if no other code refers to it and none has written to it.
    #[inline]
    fn ours_alone(_py: Python<'_>) -> Option<*mut ffi::PyStopIterationObject> {
        // SAFETY: attached (see `Stop`).
        let stop = unsafe { STOP.0.get().read() };
        if stop.is_null() {
            return None;
        }
        // SAFETY: a live object, since `STOP` owns a reference.
        let count = unsafe { ffi::Py_REFCNT(stop.cast()) };
        // SAFETY: a live `StopIteration`, which nothing writes to while this thread is attached and looks.
        let fields = unsafe { &*stop.cast::<Head>() };
        let is_clean = fields.traceback.is_null()
            && fields.context.is_null()
            && fields.cause.is_null()
            && fields.notes.is_null()
            && fields.dict.is_null()
            && fields.suppress_context == 0;
        // SAFETY: the `args` of an exception are a live tuple.
        let arguments = unsafe { ffi::PyTuple_GET_SIZE(fields.args) };
        (count == 1 && is_clean && arguments == 0).then_some(stop)
    }

    #[cold]
    fn renew(py: Python<'_>) -> PyResult<*mut ffi::PyStopIterationObject> {
        let made = py.get_type::<PyStopIteration>().call0()?;
        let stop = made.into_ptr().cast::<ffi::PyStopIterationObject>();
        replace(py, stop);
        Ok(stop)
    }

    /// Takes over a reference to `stop`, which may be null.
    #[inline]
    fn replace(_py: Python<'_>, stop: *mut ffi::PyStopIterationObject) {
        // SAFETY: attached (see `Stop`).
        let before = unsafe { STOP.0.get().replace(stop) };
        // SAFETY: attached; null, or the reference that `STOP` owned.
        unsafe { ffi::Py_XDECREF(before.cast()) };
    }

    /// Takes over a reference to `value`, which may be null.
    #[inline]
    fn replace_value(
        _py: Python<'_>,
        stop: *mut ffi::PyStopIterationObject,
        value: *mut ffi::PyObject,
    ) {
        // SAFETY: a live `StopIteration`; this only takes an address.
        let place = unsafe { &raw mut (*stop).value };
        // SAFETY: as above; no other code uses it now.
        let before = unsafe { place.replace(value) };
        // SAFETY: attached; null, or the reference that the exception owned.
        unsafe { ffi::Py_XDECREF(before) };
    }
}

/// A new exception each time.
#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
mod reused {
    use pyo3::prelude::*;

    pub(in crate::ffi) fn set(value: Bound<'_, PyAny>) -> PyResult<()> {
        super::set_new(&value)
    }

    pub(crate) fn forget_value(_py: Python<'_>) {}
}
