//! Texts and functions of Python's that are looked up once, without a panic where there is no memory.
//!
//! PyO3's own, `intern!` and [`PyOnceLock::import`], panic then.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// A text that is made when it is first used.
pub(crate) struct Name {
    text: &'static str,
    made: PyOnceLock<Py<PyString>>,
}

impl Name {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self {
            text,
            made: PyOnceLock::new(),
        }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let made = self.made.get_or_try_init(py, || {
            PyString::from_bytes(py, self.text.as_bytes()).map(Bound::unbind)
        })?;
        Ok(made.bind(py).clone())
    }
}

/// A function of a module that is imported when it is first used.
pub(crate) struct Function {
    module: Name,
    name: Name,
    found: PyOnceLock<Py<PyAny>>,
}

impl Function {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            module: Name::new(module),
            name: Name::new(name),
            found: PyOnceLock::new(),
        }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = self.found.get_or_try_init(py, || {
            let module = PyModule::import(py, self.module.get(py)?)?;
            module.getattr(self.name.get(py)?).map(Bound::unbind)
        })?;
        Ok(found.bind(py).clone())
    }
}
