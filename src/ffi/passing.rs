//! The exception that passes while a finalizer runs.

#[cfg(not(Py_3_12))]
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// Calls `call` with no exception set. The one that is set then passes on, untouched.
///
/// `PyErr::take` would create the exception object if there is only a class and arguments (before Python 3.12): it runs
/// the class's code, may end in another class, and a debug build of the interpreter then ends the process.
pub(super) fn aside(_: Python<'_>, call: impl FnOnce()) {
    let passing = Passing::take();
    call();
    passing.restore();
}

#[cfg(Py_3_12)]
struct Passing(*mut ffi::PyObject);

#[cfg(Py_3_12)]
impl Passing {
    fn take() -> Self {
        // SAFETY: `aside` is called attached. An owned reference, or null.
        Self(unsafe { ffi::PyErr_GetRaisedException() })
    }

    fn restore(self) {
        if !self.0.is_null() {
            // SAFETY: attached; takes over the reference.
            unsafe { ffi::PyErr_SetRaisedException(self.0) };
        }
    }
}

#[cfg(not(Py_3_12))]
struct Passing {
    class: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    traceback: *mut ffi::PyObject,
}

#[cfg(not(Py_3_12))]
impl Passing {
    fn take() -> Self {
        let mut taken = Self {
            class: ptr::null_mut(),
            value: ptr::null_mut(),
            traceback: ptr::null_mut(),
        };
        // SAFETY: `aside` is called attached. Writes owned references, or null.
        unsafe {
            ffi::PyErr_Fetch(
                &raw mut taken.class,
                &raw mut taken.value,
                &raw mut taken.traceback,
            );
        };
        taken
    }

    fn restore(self) {
        if !self.class.is_null() {
            // SAFETY: attached; takes over the references, of which only the class must not be null.
            unsafe { ffi::PyErr_Restore(self.class, self.value, self.traceback) };
        }
    }
}
