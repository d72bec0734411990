//! A stand-in for PyO3, for the files that `fuzz/` compiles a second time: its names, over objects of one thread.
//!
//! Reference counts are real, so that a lost or a doubled one shows: [`object::live`], and AddressSanitizer.

pub mod error;
pub mod ffi;
pub mod object;
pub mod reference;
pub mod token;

/// `pyo3::prelude`, as far as it is used.
pub mod prelude {
    pub use crate::error::{PyErr, PyResult};
    pub use crate::object::PyAny;
    pub use crate::reference::{Borrowed, Bound, IntoPyObject, Py};
    pub use crate::token::Python;
}

/// `pyo3::types`.
pub mod types {
    pub use crate::object::{PyBytes, PyInt, PyString, PyTuple, PyType};
}

/// `pyo3::exceptions`.
pub mod exceptions {
    pub use crate::error::{PyMemoryError, PyRuntimeError, PySystemError, PyValueError};
}

/// `pyo3::sync`.
pub mod sync {
    pub use crate::token::PyOnceLock;
}

pub use error::{PyErr, PyResult};
pub use reference::{Bound, BoundObject, Py};
pub use token::Python;
