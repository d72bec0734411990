//! From the application's bytes to the stream.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::session::{self, Session, size_of};
use super::state::{FAILED, Tls, TlsPhase, TlsState, caught};
use crate::ffi::buffer::is_bytes_like;
use crate::ffi::{data, make};
use crate::scheduler::pressure::Level;
use crate::transports::flow_control::Tell;
use crate::transports::lifecycle::Transport;
use crate::transports::logger::count_lost_write;
use crate::transports::protocol;
use crate::transports::stream;

/// Implements `write()`.
pub(crate) fn write(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    bytes: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if !is_bytes_like(bytes) {
        let class = bytes.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "data: expecting a bytes-like instance, got {class}"
        )));
    }
    if bytes.len()? == 0 {
        return Ok(());
    }
    if is_over(this, state)? {
        return Ok(());
    }
    let bytes = prepared(state, bytes)?;
    let result = encrypt_or_keep(this, state, &bytes).and_then(|()| send_if_ready(this, state));
    caught(this, state, FAILED, result)
}

/// Implements `writelines()`, with one write per item.
pub(crate) fn write_lines(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    lines: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if is_over(this, state)? {
        return Ok(());
    }
    let mut lengths = 0;
    let mut lines = make::collected(lines.try_iter()?)?;
    for line in &lines {
        lengths += line.len()?;
    }
    if lengths == 0 {
        return Ok(());
    }
    if is_direct(state) {
        let sizes = lines.iter().filter_map(|line| size_of(line).ok());
        state.session.reserve(sizes.sum())?;
    } else {
        for line in &mut lines {
            *line = prepared(state, line)?;
        }
        let mut backlog = state.backlog.borrow_mut();
        backlog.try_reserve(lines.len()).map_err(make::no_memory)?;
    }
    let result = lines
        .iter()
        .try_for_each(|line| encrypt_or_keep(this, state, line))
        .and_then(|()| send_if_ready(this, state));
    caught(this, state, FAILED, result)
}

/// Whether writing is over; counts such writes, and warns from asyncio's threshold on.
fn is_over(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<bool> {
    match state.phase.get() {
        TlsPhase::Handshake | TlsPhase::Wrapped => return Ok(false),
        TlsPhase::Flushing | TlsPhase::Shutdown | TlsPhase::Unwrapped => {}
    }
    count_lost_write(this.py(), &state.conn_lost, "SSL connection is closed")?;
    Ok(true)
}

/// Whether written bytes are encrypted at once.
fn is_direct(state: &TlsState) -> bool {
    state.phase.get() == TlsPhase::Wrapped && state.backlog_size.get() == 0
}

/// The bytes to write, after reserving the memory that the write needs, so that a lack of memory rejects it as a whole.
fn prepared<'py>(state: &TlsState, bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let Ok(size) = size_of(bytes) else {
        return Ok(bytes.clone()); // Encrypting them raises the error.
    };
    if is_direct(state) {
        state.session.reserve(size)?;
        return Ok(bytes.clone());
    }
    let mut backlog = state.backlog.borrow_mut();
    backlog.try_reserve(1).map_err(make::no_memory)?;
    session::snapshot(bytes)
}

/// Encrypts the bytes or keeps a copy, so that the caller's object is no longer needed.
fn encrypt_or_keep(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    bytes: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if is_direct(state) {
        return match encrypt(this, &state.session, bytes)? {
            Some(rest) => keep(state, &rest),
            None => Ok(()),
        };
    }
    keep(state, &session::snapshot(bytes)?)
}

fn keep(state: &TlsState, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
    let count = bytes.len()?;
    if count > 0 {
        let mut backlog = state.backlog.borrow_mut();
        backlog.try_reserve(1).map_err(make::no_memory)?;
        backlog.push_back(bytes.clone().unbind());
        state.backlog_size.set(state.backlog_size.get() + count);
    }
    Ok(())
}

/// Encrypts as much as the session takes; returns the rest, as immutable bytes.
fn encrypt<'py>(
    this: &Bound<'_, Tls>,
    session: &Session,
    bytes: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // While the loop does not run, any thread may call `_ssl` for the same session.
    let is_running = || data(this).core.get().owner().is_running_here(this.py());
    let done = session.encrypt(bytes, is_running)?;
    if done == size_of(bytes)? {
        Ok(None)
    } else {
        session::rest(bytes, done).map(Some)
    }
}

fn send_if_ready(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if state.phase.get() == TlsPhase::Wrapped {
        send_outgoing(this, state)
    } else {
        Ok(())
    }
}

/// Encrypts and sends the bytes that waited for the session.
pub(crate) fn write_backlog(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    loop {
        let next = state.backlog.borrow_mut().pop_front();
        let Some(next) = next else { break };
        let next = next.into_bound(py);
        state
            .backlog_size
            .set(state.backlog_size.get() - next.len()?);
        let rest = encrypt(this, &state.session, &next)?;
        if let Some(rest) = rest {
            state
                .backlog_size
                .set(state.backlog_size.get() + rest.len()?);
            state.backlog.borrow_mut().push_front(rest.unbind());
            break;
        }
    }
    send_outgoing(this, state)
}

/// Passes encrypted bytes to the stream, unless it is full, and updates the application's flow control.
pub(crate) fn send_outgoing(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    if !state.writing_blocked.get() {
        state.session.send(py, || state.stream(py))?;
    }
    control_application(this, state)
}

/// Before the program reads the state of the transport or the socket: sends what waits only for the end of the
/// callback.
pub(crate) fn settle(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    match state.stream(py) {
        Some(stream) => stream::flush::settle(&stream, &*data(&stream).state(py)?),
        None => Ok(()),
    }
}

/// `pause_writing` of the stream.
pub(crate) fn block(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    state.writing_blocked.set(true);
    if is_pressed(this, state)? {
        return control_application(this, state);
    }
    Ok(())
}

/// `resume_writing` of the stream.
pub(crate) fn unblock(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    state.writing_blocked.set(false);
    send_outgoing(this, state)
}

/// Bytes not yet passed to the stream.
pub(crate) fn size(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<usize> {
    Ok(state.session.outgoing_size(this.py())? + state.backlog_size.get())
}

/// Whether too many bytes wait over all transports of the loop, for an accepted connection.
fn is_pressed(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<bool> {
    let py = this.py();
    let meters = &data(this).core.get().shared.meters;
    match state.stream(py) {
        Some(stream) if meters.pressure.level() != Level::None => {
            Ok(data(&stream).state(py)?.life.terms.is_accepted())
        }
        _ => Ok(false),
    }
}

/// Calls the protocol's `pause_writing` or `resume_writing`, at the marks themselves, as asyncio does.
pub(crate) fn control_application(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let limits = state.write_limits.get();
    let paused = state.writing_paused.get();
    // Without a backlog, all bytes were passed on.
    let size = if state.writing_blocked.get() || state.backlog_size.get() > 0 {
        size(this, state)?
    } else {
        0
    };
    let waits = size > 0 || state.writing_blocked.get();
    let high = if waits && is_pressed(this, state)? {
        0
    } else {
        limits.high
    };
    let what = if size >= high && !paused {
        Tell::Pause
    } else if size <= limits.low && paused && !(waits && high == 0) {
        Tell::Resume
    } else {
        return Ok(());
    };
    state.writing_paused.set(what == Tell::Pause);
    let py = this.py();
    match state.protocol(py) {
        Some(protocol) => protocol::tell(data(this).core.bind(py), this.as_any(), &protocol, what),
        None => Ok(()),
    }
}
