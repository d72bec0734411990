//! `set_limits()` of a transport.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::gates::{Times, limits_of, times_of};
use super::lifecycle::{Transport, limit};
use crate::ffi::{Args, data, make};
use crate::scheduler::limits::TimeLimits;

/// `set_limits(limits=None, /, **changes)`: sets the time limits, which begin to run.
pub(super) fn set_limits<T: Transport>(
    this: &Bound<'_, T>,
    arguments: Args<'_, '_>,
) -> PyResult<()> {
    static TIMES_FOR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = this.py();
    if arguments.len() > 1 {
        let message = "set_limits() takes at most 1 positional argument";
        return Err(PyTypeError::new_err(message));
    }
    let changes = make::dict(py)?;
    for (name, value) in arguments.keywords() {
        changes.set_item(name, value)?;
    }
    let transport = data(this);
    let state = transport.state(py)?;
    let before = match T::life(&state).terms.times() {
        Some(times) => tuple_of(py, times)?,
        None => make::none(py),
    };
    let limits = arguments
        .get(0)
        .map_or_else(|| make::none(py), Borrowed::to_owned);
    let times_for = make::imported(&TIMES_FOR, py, "yamanote._limits", "times_for")?;
    let times = times_for.call1((before, limits, changes))?;
    let times: Option<Times> = times.extract()?;
    let times = times.map(limits_of).map(Arc::new);
    let local = transport.local(py)?;
    limit(transport.core().bind(py), &local, T::life(&state), times)
}

fn tuple_of(py: Python<'_>, times: TimeLimits) -> PyResult<Bound<'_, PyAny>> {
    let (first_byte, handshake, write_stall, idle) = times_of(times);
    let mut items = Vec::new();
    for time in [first_byte, handshake, write_stall, idle] {
        items.push(make::int(py, time as usize)?.into_any());
    }
    let items: Vec<_> = items.iter().map(Bound::as_borrowed).collect();
    Ok(make::tuple(py, &items)?.into_any())
}
