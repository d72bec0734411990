//! asyncio's own methods of adopted objects.

use pyo3::prelude::*;
use pyo3::types::{PyString, PySuper};

use super::adoption::families;
use crate::ffi::{Args, make};

/// Calls `name` of asyncio's class with an adopted object, as it is now.
#[cold]
pub(super) fn call<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: &[Borrowed<'_, 'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    method(object, name)?.call1(make::tuple(object.py(), arguments)?)
}

/// As [`call`], with the arguments of a call, which asyncio's method checks.
#[cold]
pub(super) fn forward<'py>(
    object: &Bound<'py, PyAny>,
    name: &str,
    arguments: Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let all: Vec<_> = (0..arguments.len())
        .filter_map(|index| arguments.get(index))
        .collect();
    let keywords = make::dict(py)?;
    for (name, value) in arguments.keywords() {
        keywords.set_item(name, value)?;
    }
    let method = method(object, &make::string(py, name)?)?;
    method.call(make::tuple(py, &all)?, Some(&keywords))
}

/// The method as `super()` finds it in a subclass, so that whatever replaces it is bound as usual, or not at all.
fn method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let class = object.get_type();
    let families = families(py).map(|families| [&families.reader, &families.writer]);
    for family in families.into_iter().flatten() {
        if class.is(&family.own) {
            return PySuper::new(family.own.bind(py), object)?.getattr(name);
        }
    }
    object.getattr(name) // The program has given the object another class since.
}
