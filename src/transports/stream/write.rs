//! From `write()` to the socket.
//!
//! A write goes to the kernel at once, as in asyncio. Where callbacks write more than once, as a server does that
//! writes head and body of a response, a transport learns to gather: the writes of one callback are sent when it
//! returns, in one system call. Every method that reads the state of the buffer or the socket sends them first.

use std::io::ErrorKind;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
#[cfg(Py_3_12)]
use pyo3::types::PyMemoryView;

use super::flush::{WRITE_ERROR, disown, flush, schedule, settle, unstrained};
use super::state::{State, Stream, Writing};
use crate::errors::os_error;
use crate::ffi::buffer::{Place, View, is_bytes_like};
#[cfg(not(Py_3_12))]
use crate::ffi::{call, name};
use crate::ffi::{data, make};
use crate::sys::socket;
use crate::transports::lifecycle::{Transport, fail};
use crate::transports::logger::count_lost_write;

/// Implements `write()`: sends the bytes now, or queues them.
pub(crate) fn write(
    this: &Bound<'_, Stream>,
    state: &State,
    bytes: &Bound<'_, PyAny>,
) -> PyResult<()> {
    check(state, bytes)?;
    let is_empty = match bytes.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().is_empty(),
        Err(_) => bytes.len()? == 0,
    };
    if is_empty || lost(this, state)? {
        return Ok(());
    }
    disown(state);
    if goes_at_once(this, state)? {
        return match send_at_once(state, bytes)? {
            Ok(true) => unstrained(this, state),
            Ok(false) => flush(this, state),
            Err(error) => fail(this, WRITE_ERROR, error),
        };
    }
    match queue(this, state, bytes, true)? {
        Ok(true) => schedule(this, state),
        Ok(false) => Ok(()),
        Err(error) => broken(this, state, error),
    }
}

/// As [`write`], for bytes without other references.
pub(crate) fn write_owned(this: &Bound<'_, Stream>, state: &State, bytes: Vec<u8>) -> PyResult<()> {
    check_open(state)?;
    if bytes.is_empty() || lost(this, state)? {
        return Ok(());
    }
    disown(state);
    let at_once = goes_at_once(this, state)?;
    let pushed = state.buffer.borrow_mut().push_owned(bytes);
    pushed.map_err(make::no_memory)?;
    if at_once {
        flush(this, state)
    } else {
        schedule(this, state)
    }
}

/// Implements `writelines()`, with one write per item.
pub(crate) fn write_lines(
    this: &Bound<'_, Stream>,
    state: &State,
    lines: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Some(lines) = readable_lines(this, state, lines)? else {
        return Ok(());
    };
    disown(state);
    let at_once = goes_at_once(this, state)?;
    let mut queued = false;
    let before = state.buffer.borrow().mark();
    for line in &lines {
        match queue(this, state, line, false) {
            Ok(Ok(more)) => queued |= more,
            Ok(Err(error)) => return broken(this, state, error),
            Err(error) => {
                // Either all items are queued or none.
                state.buffer.borrow_mut().undo(&before);
                return Err(error);
            }
        }
    }
    match (queued, at_once) {
        (false, _) => Ok(()),
        (true, true) => flush(this, state),
        (true, false) => schedule(this, state),
    }
}

/// A write that cannot be queued closes the connection; earlier writes are sent.
#[cold]
fn broken(this: &Bound<'_, Stream>, state: &State, error: PyErr) -> PyResult<()> {
    settle(this, state)?;
    fail(this, WRITE_ERROR, error)
}

/// The bytes of `writelines()` as before Python 3.12: joined, so that one invalid item makes the call raise. `None`
/// when there is nothing to write.
#[cfg(not(Py_3_12))]
fn readable_lines<'py>(
    this: &Bound<'py, Stream>,
    state: &State,
    lines: &Bound<'py, PyAny>,
) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    let join = |lines: &Bound<'py, PyAny>| {
        let nothing = make::bytes(lines.py(), b"")?;
        call::method(nothing.as_any(), name!(lines.py(), "join"), [lines])
    };
    let mut items = match lines.try_iter() {
        Ok(items) => make::collected(items)?,
        Err(_) => vec![join(lines)?],
    };
    if !items.iter().all(is_bytes_like) {
        let borrowed: Vec<_> = items.iter().map(Bound::as_borrowed).collect();
        items = vec![join(make::list(this.py(), &borrowed)?.as_any())?];
    }
    check_open(state)?;
    if items.is_empty() || lost(this, state)? {
        return Ok(None);
    }
    Ok(Some(items))
}

/// The bytes of `writelines()` as since Python 3.12: a `memoryview` of each item. `None` when there is nothing to
/// write.
#[cfg(Py_3_12)]
fn readable_lines<'py>(
    this: &Bound<'py, Stream>,
    state: &State,
    lines: &Bound<'py, PyAny>,
) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    if state.end_of_writing.get() {
        return Err(PyRuntimeError::new_err(
            "Cannot call writelines() after write_eof()",
        ));
    }
    if state.empty_waiter.borrow().is_some() {
        return Err(PyRuntimeError::new_err(
            "unable to writelines; sendfile is in progress",
        ));
    }
    if !lines.is_truthy()? || (cfg!(Py_3_14) && lost(this, state)?) {
        return Ok(None);
    }
    let mut items = Vec::new();
    for item in lines.try_iter()? {
        let item = item?;
        if is_bytes_like(&item) {
            items.push(item);
        } else if !cfg!(Py_3_14) || item.is_truthy()? {
            items.push(PyMemoryView::from(&item)?.into_any());
        }
    }
    if !cfg!(Py_3_14) && lost(this, state)? {
        return Ok(None);
    }
    Ok(Some(items))
}

fn check(state: &State, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
    if !is_bytes_like(bytes) {
        let wanted = if cfg!(Py_3_14) {
            "bytes, bytearray, or memoryview object"
        } else {
            "bytes-like object"
        };
        let class = bytes.get_type().name()?.repr()?;
        return Err(PyTypeError::new_err(format!(
            "data argument must be a {wanted}, not {class}"
        )));
    }
    check_open(state)
}

fn check_open(state: &State) -> PyResult<()> {
    if state.end_of_writing.get() {
        return Err(PyRuntimeError::new_err(
            "Cannot call write() after write_eof()",
        ));
    }
    if state.empty_waiter.borrow().is_some() {
        return Err(PyRuntimeError::new_err(
            "unable to write; sendfile is in progress",
        ));
    }
    Ok(())
}

/// Whether a write goes to the kernel now: yes, unless bytes are queued or the transport gathers. It starts to gather
/// at the second write of a callback, if the program has not read its state in between, and stops after [`PATIENCE`]
/// callbacks that wrote once.
#[inline]
fn goes_at_once(this: &Bound<'_, Stream>, state: &State) -> PyResult<bool> {
    match state.writing.get() {
        Writing::Idle => {}
        Writing::Queued => {
            state.gathering.set(PATIENCE);
            return Ok(false);
        }
        Writing::Blocked => return Ok(false),
    }
    let local = data(this).local(this.py())?;
    if data(this).core().get().has_faults() {
        return Ok(false); // `flush` decides how much is sent.
    }
    if !local.is_in_turn() {
        return Ok(state.buffer.borrow().is_empty());
    }
    let callback = local.callback();
    if state.wrote_in.replace(callback) == callback {
        state.gathering.set(PATIENCE);
        local.set_gathers(true);
        return Ok(false);
    }
    let Some(left) = state.gathering.get().checked_sub(1) else {
        return Ok(state.buffer.borrow().is_empty());
    };
    state.gathering.set(left);
    if left == 0 {
        local.set_gathers(false);
    }
    Ok(false)
}

/// Sends the bytes; `false` when the kernel did not take all and the rest was buffered. The outer error is
/// `MemoryError` before anything was sent; the inner one closes the connection.
#[inline]
fn send_at_once(state: &State, bytes: &Bound<'_, PyAny>) -> PyResult<PyResult<bool>> {
    if let Ok(bytes) = bytes.cast_exact::<PyBytes>() {
        let all = bytes.as_bytes();
        let count = match send_some(state, all) {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        if count == all.len() {
            return Ok(Ok(true));
        }
        let mut buffer = state.buffer.borrow_mut();
        if let Err(error) = buffer.push(bytes.clone().into()) {
            return Ok(Err(make::no_memory(error)));
        }
        // Removes no chunk: the only one is not sent completely.
        drop(buffer.advance(count));
        return Ok(Ok(false));
    }
    let mut place = Place::default();
    let view = match View::readable(bytes, &mut place) {
        Ok(view) => view,
        Err(error) => return Ok(Err(error)),
    };
    let rest = send_or_copy(state, view.bytes())?;
    Ok(rest.map(|rest| rest == 0))
}

/// Sends mutable bytes and buffers a copy of what the kernel does not take; returns the size of that copy. Errors as
/// for [`send_at_once`]: memory for many bytes is allocated first, so that a write is not left incomplete for lack of
/// it.
fn send_or_copy(state: &State, bytes: &[u8]) -> PyResult<PyResult<usize>> {
    let mut room = Vec::new();
    if bytes.len() > RESERVED_ABOVE {
        room.try_reserve_exact(bytes.len())
            .map_err(make::no_memory)?;
    }
    Ok(send_some(state, bytes).and_then(|count| {
        let rest = &bytes[count..];
        if !rest.is_empty() {
            let pushed = state.buffer.borrow_mut().push_into(room, rest);
            pushed.map_err(make::no_memory)?;
        }
        Ok(rest.len())
    }))
}

/// The number of bytes that the kernel takes.
#[expect(
    clippy::inline_always,
    reason = "on the way of each write; a call of its own costs 30 instructions"
)]
#[inline(always)]
fn send_some(state: &State, bytes: &[u8]) -> PyResult<usize> {
    match socket::send(state.life.fd, bytes) {
        Ok(count) => {
            state.life.meters.bytes_out.add_size(count);
            state.life.traffic.note_out();
            Ok(count)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(os_error(error)),
    }
}

/// Buffers the bytes, or those that the kernel does not take at once; `false` when none are buffered. Errors as for
/// [`send_at_once`]; without `may_send`, nothing is sent.
fn queue(
    this: &Bound<'_, Stream>,
    state: &State,
    bytes: &Bound<'_, PyAny>,
    may_send: bool,
) -> PyResult<PyResult<bool>> {
    if let Ok(bytes) = bytes.cast_exact::<PyBytes>() {
        if bytes.as_bytes().is_empty() {
            return Ok(Ok(false));
        }
        let pushed = state.buffer.borrow_mut().push(bytes.clone().into());
        return pushed.map(|()| Ok(true)).map_err(make::no_memory);
    }
    let mut place = Place::default();
    let view = match View::readable(bytes, &mut place) {
        Ok(view) => view,
        Err(error) => return Ok(Err(error)),
    };
    if view.len() == 0 {
        return Ok(Ok(false));
    }
    let at_once =
        may_send && view.len() > state.flow.high() && state.writing.get() != Writing::Blocked;
    let has_faults = || data(this).core().get().has_faults();
    if at_once && state.buffer.borrow().is_empty() && !has_faults() {
        // Large and mutable: try to send first, so that only the rest is copied.
        return Ok(send_or_copy(state, view.bytes())?.map(|rest| rest > 0));
    }
    let pushed = state.buffer.borrow_mut().push_copy(view.bytes());
    pushed.map(|()| Ok(true)).map_err(make::no_memory)
}

/// Whether the connection is lost; counts writes to it, and warns from asyncio's threshold on.
fn lost(this: &Bound<'_, Stream>, state: &State) -> PyResult<bool> {
    let count = state.conn_lost.get();
    if count == 0 {
        return Ok(false);
    }
    let text = "socket.send() raised exception.";
    count_lost_write(this.py(), &state.conn_lost, text)?;
    Ok(true)
}

/// Consecutive callbacks with a single write after which a gathering transport sends at once again.
pub(crate) const PATIENCE: u8 = 8;

/// Up to this size, memory is allocated only once the kernel has left a rest.
const RESERVED_ABOVE: usize = 64 * 1024;
