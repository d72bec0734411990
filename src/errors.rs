//! The kernel's errors as Python exceptions.

use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// `OSError(errno, text)`; Python selects the subclass, such as `ConnectionResetError`.
pub(crate) fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return error.into();
    };
    // Rust appends the number to the kernel's text; Python adds it in its own format.
    let text = error.to_string();
    let text = text
        .strip_suffix(&format!(" (os error {number})"))
        .unwrap_or(&text);
    PyOSError::new_err((number, text.to_owned()))
}
