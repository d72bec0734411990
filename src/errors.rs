//! Errors of the kernel as Python raises them.

use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// `OSError(errno, text)`, which Python makes a `ConnectionResetError` and its like.
pub(crate) fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return error.into();
    };
    // Rust adds the number to the kernel's text; Python does so too, in its own way.
    let text = error.to_string();
    let text = text
        .strip_suffix(&format!(" (os error {number})"))
        .unwrap_or(&text);
    PyOSError::new_err((number, text.to_owned()))
}
