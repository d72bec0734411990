//! A stand-in: makes objects of Python's own types.

use pyo3::exceptions::PyMemoryError;
use pyo3::object::Value;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple, PyType};

pub(crate) fn no_memory<E>(_: E) -> PyErr {
    PyMemoryError::new_err(())
}

pub(crate) fn string<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    Ok(Py::of(Value::Str(text.to_owned())).into_bound(py))
}

/// Bytes that are no UTF-8 are surrogates in Python; here they are replaced.
pub(crate) fn path<'py>(py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyString>> {
    string(py, &String::from_utf8_lossy(path))
}

pub(crate) fn bytes<'py>(py: Python<'py>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(Py::of(Value::Bytes(contents.to_vec())).into_bound(py))
}

pub(crate) fn int(py: Python<'_>, number: usize) -> PyResult<Bound<'_, PyInt>> {
    Ok(Py::of(Value::Int(number as i128)).into_bound(py))
}

pub(crate) fn tuple<'py>(
    py: Python<'py>,
    objects: &[Borrowed<'_, 'py, PyAny>],
) -> PyResult<Bound<'py, PyTuple>> {
    let objects = objects.iter().map(|object| {
        Borrowed::to_owned(*object)
            .unbind()
            .into_bound(Python::token())
    });
    Ok(Py::of(Value::Tuple(objects.collect())).into_bound(py))
}

/// A class of that name; the process keeps one for each cell.
pub(crate) fn imported<'py>(
    cell: &'static PyOnceLock<Py<PyType>>,
    py: Python<'py>,
    _module: &str,
    name: &'static str,
) -> PyResult<&'py Bound<'py, PyType>> {
    let found = cell.get_or_try_init(py, || {
        let made = Py::of(Value::Type(name));
        pyo3::object::keep(&made);
        Ok(made)
    })?;
    Ok(found.bind(py))
}
