//! How the classes of this room declare what Python sees of them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::flow_control::HIGH;
use crate::ffi::Args;

/// Declares a `FastMethod` of a class whose data has a `state`.
macro_rules! fast_method {
    ($class:ty, $type:ident, $name:literal, $signature:literal, $doc:literal, |$this:ident, $state:ident, $arguments:ident| $body:expr) => {
        struct $type;

        impl $crate::ffi::FastMethod for $type {
            type Receiver = $class;
            const NAME: &'static std::ffi::CStr = $crate::ffi::text(concat!($name, "\0"));
            const DOC: &'static std::ffi::CStr =
                $crate::ffi::text(concat!($name, $signature, "\n--\n\n", $doc, "\0"));

            fn call<'py>(
                $this: &Bound<'py, $class>,
                $arguments: $crate::ffi::Args<'_, 'py>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let $state = $crate::ffi::data($this).state($this.py())?;
                $body
            }
        }
    };
}

/// Declares an `Attribute` of such a class, under asyncio's name for it.
macro_rules! attribute_of {
    ($class:ty, $type:ident, $name:literal, |$this:ident, $state:ident| $body:expr) => {
        struct $type;

        impl $crate::ffi::Attribute for $type {
            type Receiver = $class;
            const NAME: &'static std::ffi::CStr = $name;

            fn get<'py>($this: &Bound<'py, $class>) -> PyResult<Bound<'py, PyAny>> {
                let $state = $crate::ffi::data($this).state($this.py())?;
                $body
            }
        }
    };
}

pub(super) use {attribute_of, fast_method};

pub(super) fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

pub(super) fn boolean(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

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

pub(super) fn missing(method: &str, argument: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{method}() missing 1 required positional argument: '{argument}'"
    ))
}

/// `(high, low)` as given to `set_write_buffer_limits`; asyncio's defaults for what was not given
/// (`transports.py`), and its check.
pub(super) fn limits(arguments: Args<'_, '_>) -> PyResult<(usize, usize)> {
    let given = arguments.named("set_write_buffer_limits", ["high", "low"])?;
    let [high, low] = given.map(|value| value.filter(|value| !value.is_none()));
    let high: Option<i64> = high.map(Borrowed::extract).transpose()?;
    let low: Option<i64> = low.map(Borrowed::extract).transpose()?;
    let default = i64::try_from(HIGH)?;
    let high = high.unwrap_or_else(|| low.map_or(default, |low| low.saturating_mul(4)));
    let low = low.unwrap_or(high.div_euclid(4));
    if !(high >= low && low >= 0) {
        return Err(PyValueError::new_err(format!(
            "high ({high}) must be >= low ({low}) must be >= 0"
        )));
    }
    Ok((usize::try_from(high)?, usize::try_from(low)?))
}
