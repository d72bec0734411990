//! How the collector sees what a loop holds.

use pyo3::prelude::*;

/// What the collector is shown objects with.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&Py<PyAny>);
