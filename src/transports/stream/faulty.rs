//! Reads and writes while `yamanote.testing.faults` decides how far each of them goes.

use std::io::{self, ErrorKind, IoSlice};

use pyo3::prelude::*;

use super::flush::{broken, flush, is_full, sent};
use super::read::READ_ERROR;
use super::state::{State, Stream, Writing};
use crate::driver::is_inherited;
use crate::errors::os_error;
use crate::ffi::{data, downcast};
use crate::scheduler::{READ, WRITE};
use crate::sys::{pipe, socket};
use crate::transports::faults::{self, Fault};
use crate::transports::lifecycle::{Reading, Transport, fail, update_interest};

/// Returns the events to handle now: one to read may come later.
pub(super) fn meet(this: &Bound<'_, Stream>, state: &State, ready: u8) -> PyResult<u8> {
    if ready & READ == 0 {
        return Ok(ready);
    }
    match may_read(this, state) {
        Ok(true) => Ok(ready),
        Ok(false) => Ok(ready & !READ),
        Err(error) => {
            // It may end the run; the next one must continue, because the reactor would not fire again.
            fire_slot(state, ready);
            Err(error)
        }
    }
}

/// Whether to read now: not if the read comes later, or the connection ends in a reset. Limits the read to a piece.
fn may_read(this: &Bound<'_, Stream>, state: &State) -> PyResult<bool> {
    let is_off = state.reading.get() != Reading::On || is_inherited(&state.life.registration);
    if is_off || state.life.is_held() {
        return Ok(true); // It does nothing.
    }
    // Where the socket has an error, the read returns it.
    let size = pipe::input_size(state.life.fd).unwrap_or(0);
    match ask(this, false, size)? {
        Fault::None => Ok(true),
        Fault::Piece(most) => {
            state.most.set(Some(most));
            Ok(true)
        }
        Fault::Late => Ok(false),
        Fault::Reset => {
            fail(this, READ_ERROR, os_error(reset(state)))?;
            Ok(false)
        }
    }
}

/// After a read: if it was limited, the next pass reads the rest.
pub(super) fn read_on(state: &State) {
    if state.most.take().is_some() {
        state.life.fire_read();
    }
}

/// Sends the next piece of the buffer. Returns whether bytes are left, which are sent later; `None` if the connection
/// is lost.
#[cold]
pub(super) fn send_piece(this: &Bound<'_, Stream>, state: &State) -> PyResult<Option<bool>> {
    let size = state.buffer.borrow().len();
    if size == 0 {
        return Ok(Some(false));
    }
    // What is written while Python chooses waits behind these bytes.
    state.writing.set(Writing::Blocked);
    let asked = ask(this, true, size);
    if state.conn_lost.get() > 0 {
        state.writing.set(Writing::Idle);
        return asked.map(|_| None);
    }
    let most = match asked {
        Ok(Fault::None) => size,
        Ok(Fault::Piece(most)) => most.get(),
        Ok(Fault::Late) => return Ok(Some(true)),
        Ok(Fault::Reset) => return broken(this, state, reset(state)).map(|()| None),
        Err(error) => {
            go_on_later(state);
            return update_interest(this, state).and(Err(error));
        }
    };
    match send(state, most) {
        Ok(count) => sent(this, state, count)?,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            if is_full(this, state)? {
                return Ok(Some(true));
            }
        }
        Err(error) => return broken(this, state, error).map(|()| None),
    }
    let is_left = !state.buffer.borrow().is_empty();
    if is_left {
        go_on_later(state);
    }
    Ok(Some(is_left))
}

/// The faults are over: sends what they have kept, and reads in a coming turn.
pub(crate) fn let_go(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(this) = downcast::<Stream>(transport) else {
        return Ok(());
    };
    let state = data(this).state(this.py())?;
    state.life.fire_read();
    if state.writing.get() == Writing::Blocked {
        flush(this, &state)?;
    }
    Ok(())
}

/// Has an event come to a transport, as if the reactor had reported it.
pub(crate) fn fire(transport: &Bound<'_, PyAny>, ready: u8) -> PyResult<()> {
    if let Some(this) = downcast::<Stream>(transport) {
        let state = data(this).state(this.py())?;
        fire_slot(&state, ready);
    }
    Ok(())
}

fn ask(this: &Bound<'_, Stream>, sends: bool, size: usize) -> PyResult<Fault> {
    let core = data(this).core().bind(this.py());
    faults::of_transfer(core, this.as_any(), sends, size)
}

/// Sends at most `most` bytes from the front of the buffer.
fn send(state: &State, most: usize) -> io::Result<usize> {
    let buffer = state.buffer.borrow();
    let mut slices = [IoSlice::new(&[])];
    buffer.fill(&mut slices);
    let front = &slices[0];
    socket::send(state.life.fd, &front[..front.len().min(most)])
}

fn go_on_later(state: &State) {
    fire_slot(state, WRITE);
}

fn fire_slot(state: &State, ready: u8) {
    if let Some(registration) = &*state.life.registration.borrow() {
        registration.slot().fire(ready);
    }
}

/// Resets the connection, for the peer once the transport is closed. Returns the error that says so.
fn reset(state: &State) -> io::Error {
    // Ignored: the peer then sees the end of the stream, as on a socket that has no resets.
    let _ = socket::reset_when_closed(state.life.fd);
    socket::reset_error()
}
