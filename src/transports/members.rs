//! Helpers shared by the methods of this module's classes: arguments, and the limits of write buffers.

use std::cell::RefCell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

pub(super) use crate::ffi::make::{boolean, none};
use crate::ffi::{Args, make};
pub(super) use crate::ffi::{attribute, method, missing};

/// The only argument, positional or by keyword.
pub(super) fn single<'py>(
    arguments: Args<'_, 'py>,
    method: &str,
    name: &'static str,
) -> PyResult<Bound<'py, PyAny>> {
    if arguments.len() == 1
        && !arguments.has_keywords()
        && let Some(value) = arguments.get(0)
    {
        return Ok(value.to_owned());
    }
    let [value] = arguments.named(method, [name])?;
    value
        .map(Borrowed::to_owned)
        .ok_or_else(|| missing(method, name))
}

/// Water marks as passed to `set_write_buffer_limits`: any objects that Python can compare.
pub(super) struct Marks<'py> {
    high: Bound<'py, PyAny>,
    low: Bound<'py, PyAny>,
}

/// The given marks, with asyncio's defaults for missing ones and its check (`transports.py`, `sslproto.py`).
pub(super) fn limits<'py>(
    arguments: Args<'_, 'py>,
    method: &str,
    default: usize,
) -> PyResult<Marks<'py>> {
    let py = arguments.py();
    let given = arguments.named(method, ["high", "low"])?;
    let [high, low] = given.map(|value| value.filter(|value| !value.is_none()));
    let high = match (high, low) {
        (Some(high), _) => high.to_owned(),
        (None, Some(low)) => make::int(py, 4)?.mul(low)?,
        (None, None) => make::int(py, default)?.into_any(),
    };
    let low = match low {
        Some(low) => low.to_owned(),
        None => high.floor_div(4)?,
    };
    if !(high.ge(&low)? && low.ge(0)?) {
        return Err(PyValueError::new_err(format!(
            "high ({}) must be >= low ({}) must be >= 0",
            high.repr()?,
            low.repr()?
        )));
    }
    Ok(Marks { high, low })
}

impl Marks<'_> {
    /// The largest numbers of bytes that do not exceed `high` and `low`.
    pub(super) fn floors(&self) -> PyResult<(usize, usize)> {
        Ok((floor(&self.high)?, floor(&self.low)?))
    }

    /// The smallest number of bytes not below `high`, and the largest not above `low`.
    pub(super) fn around(&self) -> PyResult<(usize, usize)> {
        let high = match whole(&self.high) {
            Some(high) => high,
            None => first(self.high.py(), |size| size.ge(&self.high))?,
        };
        Ok((high, floor(&self.low)?))
    }

    /// The value for `get_write_buffer_limits` to return.
    pub(super) fn into_pair(self) -> PyResult<Py<PyAny>> {
        let py = self.high.py();
        Ok((self.low, self.high).into_pyobject(py)?.into_any().unbind())
    }
}

fn floor(mark: &Bound<'_, PyAny>) -> PyResult<usize> {
    match whole(mark) {
        Some(mark) => Ok(mark),
        None => Ok(first(mark.py(), |size| Ok(!size.le(mark)?))?.saturating_sub(1)),
    }
}

/// An integer, which must not be negative; `usize::MAX` if it does not fit. `None` for any other object.
fn whole(mark: &Bound<'_, PyAny>) -> Option<usize> {
    let mark = mark.cast_exact::<PyInt>().ok()?;
    Some(mark.extract().unwrap_or(usize::MAX))
}

/// The smallest number of bytes for which `is_past` holds; it holds for all larger ones. Floats, fractions and
/// similar objects are compared with a size, as asyncio does.
fn first(py: Python<'_>, is_past: impl Fn(Bound<'_, PyInt>) -> PyResult<bool>) -> PyResult<usize> {
    let (mut from, mut to) = (0, usize::MAX);
    while from < to {
        let middle = from + (to - from) / 2;
        if is_past(make::int(py, middle)?)? {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    Ok(from)
}

/// `(low, high)` as they were given, or asyncio's defaults.
pub(super) fn pair<'py>(
    py: Python<'py>,
    given: &RefCell<Option<Py<PyAny>>>,
    (low, high): (usize, usize),
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(given) = &*given.borrow() {
        return Ok(given.bind(py).clone());
    }
    let (low, high) = (make::int(py, low)?, make::int(py, high)?);
    let both = [low.as_any().as_borrowed(), high.as_any().as_borrowed()];
    make::tuple(py, &both).map(Bound::into_any)
}
