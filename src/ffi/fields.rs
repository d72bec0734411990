//! Attributes of instances whose class sets them in the same order each time.
//!
//! A look-up in the dict hashes and compares; the entry at a known place only has to be compared. The place is a guess
//! that costs nothing when it is wrong: the name at it is checked, and any other one is looked up.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString};

use super::names::is_same;
use super::reference;

/// An attribute out of a dict, whose class sets those of `$names` in this order: `Option<Bound<PyAny>>` in a `PyResult`.
macro_rules! field {
    ($fields:expr, $names:expr, $name:literal) => {{
        const PLACE: usize = $crate::ffi::fields::place(&$names, $name);
        let fields = $fields;
        $crate::ffi::fields::get(fields, PLACE, $crate::ffi::name!(fields.py(), $name))
    }};
}

/// Whether an attribute certainly has this value, `none` or `no`; a look-up costs more.
macro_rules! is_field {
    ($fields:expr, $names:expr, $name:literal, $value:ident) => {{
        const PLACE: usize = $crate::ffi::fields::place(&$names, $name);
        let fields = $fields;
        let value = $crate::ffi::fields::$value(fields.py());
        $crate::ffi::fields::is(fields, PLACE, $crate::ffi::name!(fields.py(), $name), value)
    }};
}

pub(crate) use {field, is_field};

/// The index of the name among the names. A name that is not one of them fails the compilation.
pub(crate) const fn place(names: &[&str], name: &str) -> usize {
    let mut index = 0;
    while !is_same(names[index].as_bytes(), name.as_bytes()) {
        index += 1;
    }
    index
}

/// The value of `name`, which is probably the entry at `place`.
#[inline]
pub(crate) fn get<'py>(
    fields: &Bound<'py, PyDict>,
    place: usize,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match at(fields, place, name) {
        Some(value) => Ok(Some(value)),
        None => fields.get_item(name),
    }
}

/// The value of the entry at `place`, if its key is `name` itself.
#[inline]
fn at<'py>(
    fields: &Bound<'py, PyDict>,
    place: usize,
    name: &Bound<'py, PyString>,
) -> Option<Bound<'py, PyAny>> {
    let (key, value) = entry(fields, place)?;
    if key != name.as_ptr() {
        return None;
    }
    // SAFETY: attached; the dict refers to the value, and has not changed since.
    Some(unsafe { Bound::from_borrowed_ptr(fields.py(), value) })
}

/// Whether the entry at `place` has the key `name` itself, and this value.
#[inline]
pub(crate) fn is(
    fields: &Bound<'_, PyDict>,
    place: usize,
    name: &Bound<'_, PyString>,
    value: Borrowed<'_, '_, PyAny>,
) -> bool {
    entry(fields, place) == Some((name.as_ptr(), value.as_ptr()))
}

/// `None`, without counting a reference.
#[inline]
pub(crate) fn none(py: Python<'_>) -> Borrowed<'static, '_, PyAny> {
    // SAFETY: attached; one of the interpreter's own objects, which lives as long as it.
    unsafe { Borrowed::from_ptr(py, reference::none()) }
}

/// `False`, without counting a reference.
#[inline]
pub(crate) fn no(py: Python<'_>) -> Borrowed<'static, '_, PyAny> {
    // SAFETY: attached; one of the interpreter's own objects, which lives as long as it.
    unsafe { Borrowed::from_ptr(py, reference::truth(false)) }
}

/// Key and value of the first entry from `place` on, borrowed from the dict until it changes.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
fn entry(
    fields: &Bound<'_, PyDict>,
    place: usize,
) -> Option<(*mut ffi::PyObject, *mut ffi::PyObject)> {
    let mut place = place.cast_signed();
    let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
    let dict = fields.as_ptr();
    // SAFETY: attached; a live dict. Every version of the interpreter compares the place with the number of entries,
    // goes to the first entry from there on, and returns 0 if there is none. It writes borrowed references.
    let found = unsafe { ffi::PyDict_Next(dict, &raw mut place, &raw mut key, &raw mut value) };
    (found != 0).then_some((key, value))
}

/// Without the GIL, the entry could change before its value is counted.
#[cfg(Py_GIL_DISABLED)]
fn entry(
    _fields: &Bound<'_, PyDict>,
    _place: usize,
) -> Option<(*mut ffi::PyObject, *mut ffi::PyObject)> {
    None
}

/// Sets an attribute in the dict.
#[inline]
pub(crate) fn set(
    fields: &Bound<'_, PyDict>,
    name: &Bound<'_, PyString>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: attached; a live dict, a string and a live value, all borrowed.
    if unsafe { ffi::PyDict_SetItem(fields.as_ptr(), name.as_ptr(), value.as_ptr()) } < 0 {
        return Err(PyErr::fetch(fields.py()));
    }
    Ok(())
}

/// The value of an object that is exactly an `int`, not negative, and not above `isize::MAX`.
#[inline]
pub(crate) fn size(object: &Bound<'_, PyAny>) -> Option<usize> {
    let number = object.cast_exact::<PyInt>().ok()?;
    // SAFETY: attached; a live `int`. Returns -1, with an exception set, if it is too large.
    let size = unsafe { ffi::PyLong_AsSsize_t(number.as_ptr()) };
    let size = usize::try_from(size);
    if size.is_err() {
        // Ignored: such a number is no size, as a negative one.
        drop(PyErr::take(object.py()));
    }
    size.ok()
}
