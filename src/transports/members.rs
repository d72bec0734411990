//! What the methods of this room's classes have in common: arguments, and the limits of write buffers.

use std::cell::RefCell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

pub(super) use crate::ffi::make::{boolean, none};
use crate::ffi::{Args, make};
pub(super) use crate::ffi::{attribute, method, missing};

/// The only argument, by position or by name.
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

/// Water marks as `set_write_buffer_limits` was given them: whatever Python can compare.
pub(super) struct Marks<'py> {
    high: Bound<'py, PyAny>,
    low: Bound<'py, PyAny>,
}

/// The marks that were given, asyncio's defaults for what was not, and its check (`transports.py`, `sslproto.py`).
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
    /// The largest numbers of bytes that are not above `high` and `low`.
    pub(super) fn floors(&self) -> PyResult<(usize, usize)> {
        Ok((floor(&self.high)?, floor(&self.low)?))
    }

    /// The smallest number of bytes that is not below `high`, and the largest that is not above `low`.
    pub(super) fn around(&self) -> PyResult<(usize, usize)> {
        let high = match whole(&self.high) {
            Some(high) => high,
            None => first(self.high.py(), |size| size.ge(&self.high))?,
        };
        Ok((high, floor(&self.low)?))
    }

    /// What `get_write_buffer_limits` is to answer.
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

/// An integer that is not negative; more than can ever be buffered where a word does not hold it.
fn whole(mark: &Bound<'_, PyAny>) -> Option<usize> {
    let mark = mark.cast_exact::<PyInt>().ok()?;
    Some(mark.extract().unwrap_or(usize::MAX))
}

/// The smallest number of bytes for which `is_past` holds, which holds for all larger ones. Floats, fractions and
/// their like are asked as asyncio asks them: compared with a size.
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

/// `(low, high)`: as they were given, or asyncio's.
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
