//! One attempt of a read on a reader's attributes: asyncio's `read`, `readexactly`, `readuntil` and `readline`.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use super::fields::{Fields, Received};
use crate::ffi::{adopt, make, name};
use crate::sys::memory;

/// What a read asks for.
#[derive(Debug)]
pub(super) enum Want {
    /// At least one byte, at most so many.
    Some(usize),
    Exactly(usize),
    Until(Py<PyBytes>),
    Line,
}

/// The result of an attempt.
pub(super) enum Attempt<'py> {
    Done(Bound<'py, PyAny>),
    /// More bytes are needed, besides these.
    Wait(Received<'py>),
    /// asyncio's own method must decide.
    Ordinary,
}

use Attempt::{Done, Ordinary, Wait};

/// The first attempt; nothing was changed if the result is [`Attempt::Ordinary`].
#[inline]
pub(super) fn begin<'py>(
    fields: &Fields<'py>,
    want: &Want,
    searched: &Cell<usize>,
) -> PyResult<Attempt<'py>> {
    if fields.has_exception()? {
        return Ok(Ordinary);
    }
    match want {
        Want::Some(most) => match fields.received()? {
            None => Ok(Ordinary),
            Some(received) if received.len() == 0 && !fields.is_at_end()? => Ok(Wait(received)),
            Some(received) => take(fields, received, *most).map(Done),
        },
        Want::Exactly(_) | Want::Until(_) | Want::Line => attempt(fields, want, searched),
    }
}

/// An attempt after bytes, the end or an exception have come. `searched` counts the bytes without a separator.
#[inline]
pub(super) fn attempt<'py>(
    fields: &Fields<'py>,
    want: &Want,
    searched: &Cell<usize>,
) -> PyResult<Attempt<'py>> {
    let Some(received) = fields.received()? else {
        return Ok(Ordinary);
    };
    match want {
        Want::Some(most) => take(fields, received, *most).map(Done),
        Want::Exactly(count) => exactly(fields, received, *count),
        Want::Until(separator) => {
            let separator = separator.bind(fields.py());
            until(fields, received, separator.as_bytes(), searched)
        }
        Want::Line => line(fields, received, searched),
    }
}

/// Takes the bytes and lets a paused transport go on.
#[inline]
fn take<'py>(
    fields: &Fields<'py>,
    received: Received<'py>,
    count: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let taken = fields.take(received, count)?;
    fields.maybe_resume()?;
    Ok(taken)
}

fn exactly<'py>(
    fields: &Fields<'py>,
    received: Received<'py>,
    count: usize,
) -> PyResult<Attempt<'py>> {
    if received.len() >= count {
        return take(fields, received, count).map(Done);
    }
    if !fields.is_at_end()? {
        return Ok(Wait(received));
    }
    let partial = fields.take(received, count)?;
    Err(incomplete(&partial, Some(count))?)
}

/// The result of a search.
enum Found {
    /// The separator ends after so many bytes.
    End(usize),
    Nothing,
    /// Over the limit: asyncio's text, and the bytes that may be consumed.
    Over(&'static str, usize),
    /// The limit is not an integer of a usual size.
    Unknown,
}

fn search(
    fields: &Fields<'_>,
    received: &Received<'_>,
    separator: &[u8],
    searched: &Cell<usize>,
) -> PyResult<Found> {
    let (length, offset) = (received.len(), searched.get());
    if length < offset + separator.len() {
        return Ok(Found::Nothing);
    }
    let Some(limit) = fields.limit()? else {
        return Ok(Found::Unknown);
    };
    let found = received.with(|all| memory::find(all.get(offset..)?, separator));
    if let Some(found) = found {
        let start = offset + found;
        if start > limit {
            return Ok(Found::Over(FOUND_BEYOND, start));
        }
        return Ok(Found::End(start + separator.len()));
    }
    let offset = length + 1 - separator.len();
    searched.set(offset);
    if offset > limit {
        return Ok(Found::Over(NOT_FOUND, offset));
    }
    Ok(Found::Nothing)
}

fn until<'py>(
    fields: &Fields<'py>,
    received: Received<'py>,
    separator: &[u8],
    searched: &Cell<usize>,
) -> PyResult<Attempt<'py>> {
    match search(fields, &received, separator, searched)? {
        Found::End(count) => take(fields, received, count).map(Done),
        Found::Over(text, consumed) => Err(overrun(fields.py(), text, consumed)?),
        Found::Nothing if fields.is_at_end()? => {
            let partial = fields.take(received, usize::MAX)?;
            Err(incomplete(&partial, None)?)
        }
        Found::Nothing => Ok(Wait(received)),
        Found::Unknown => Ok(Ordinary),
    }
}

fn line<'py>(
    fields: &Fields<'py>,
    received: Received<'py>,
    searched: &Cell<usize>,
) -> PyResult<Attempt<'py>> {
    match search(fields, &received, b"\n", searched)? {
        Found::End(count) => take(fields, received, count).map(Done),
        Found::Over(text, consumed) => {
            let is_newline = received.with(|all| all.get(consumed) == Some(&b'\n'));
            let count = if is_newline { consumed + 1 } else { usize::MAX };
            let context = overrun(fields.py(), text, consumed)?;
            let context = context.value(fields.py());
            if let Some(handled) = adopt::handled(fields.py()) {
                context.setattr(name!(fields.py(), "__context__"), handled)?;
            }
            take(fields, received, count)?;
            let error = PyValueError::new_err(text);
            error
                .value(fields.py())
                .setattr(name!(fields.py(), "__context__"), context)?;
            Err(error)
        }
        Found::Nothing if fields.is_at_end()? => fields.take(received, usize::MAX).map(Done),
        Found::Nothing => Ok(Wait(received)),
        Found::Unknown => Ok(Ordinary),
    }
}

/// The interpreter makes the errors when they are raised, and adds the `__context__`.
#[cold]
fn incomplete(partial: &Bound<'_, PyAny>, expected: Option<usize>) -> PyResult<PyErr> {
    let class = incomplete_read_error(partial.py())?.clone();
    let arguments = (partial.clone().unbind(), expected);
    Ok(PyErr::from_type(class, arguments))
}

#[cold]
fn overrun(py: Python<'_>, text: &'static str, consumed: usize) -> PyResult<PyErr> {
    let class = limit_overrun_error(py)?.clone();
    Ok(PyErr::from_type(class, (text, consumed)))
}

/// Whether `readline` turns this error of `readuntil` into another result.
#[cold]
pub(super) fn is_caught_by_readline(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    Ok(error.is_instance(py, incomplete_read_error(py)?)
        || error.is_instance(py, limit_overrun_error(py)?))
}

fn incomplete_read_error(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    make::imported(&CLASS, py, "asyncio.exceptions", "IncompleteReadError")
}

fn limit_overrun_error(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    make::imported(&CLASS, py, "asyncio.exceptions", "LimitOverrunError")
}

/// asyncio's texts (`streams.py`).
const FOUND_BEYOND: &str = "Separator is found, but chunk is longer than limit";
const NOT_FOUND: &str = "Separator is not found, and chunk exceed the limit";
