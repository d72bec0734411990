//! From the buffer to the kernel.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::ending::{begin_closing, fail_waiter, lose};
use super::faulty;
use super::state::{State, Stream, Writing};
use crate::driver::Registration;
use crate::errors::os_error;
use crate::ffi::{data, name};
use crate::scheduler::Flush;
use crate::scheduler::pressure::Level;
use crate::sys::socket;
use crate::transports::lifecycle::{Phase, Transport, cast, fail, update_interest};
use crate::transports::write_buffer::WriteBuffer;

/// Decides when the buffer is sent.
pub(super) fn schedule(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let size = state.buffer.borrow().len();
    if state.writing.get() == Writing::Blocked {
        return grown(this, state);
    }
    // Above the high mark, send at once: the protocol must not be paused for bytes that the kernel can take.
    if size > state.flow.high() {
        return flush(this, state);
    }
    if state.writing.get() == Writing::Queued {
        return Ok(());
    }
    let local = data(this).local(this.py())?;
    if !local.is_in_turn() {
        return flush(this, state);
    }
    state.writing.set(Writing::Queued);
    local.flush_later(Flush {
        target: this.clone().into_any().unbind(),
        run: flush_queued,
    });
    Ok(())
}

/// Runs when the callback that wrote has returned.
fn flush_queued(this: &Bound<'_, PyAny>) -> PyResult<()> {
    let this = cast::<Stream>(this)?;
    let state = data(this).state(this.py())?;
    if state.writing.get() == Writing::Queued {
        flush(this, &state).or_else(|error| fail(this, WRITE_ERROR, error))
    } else {
        Ok(())
    }
}

/// Before the program reads the state of the buffer or the socket: sends what waits only for the end of the callback.
/// The next write counts as the callback's first.
#[inline]
pub(crate) fn settle(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    state.wrote_in.set(0);
    let waits = state.writing.get() != Writing::Blocked && !state.buffer.borrow().is_empty();
    if waits { flush(this, state) } else { Ok(()) }
}

/// In a forked child: drops the bytes that its parent wrote, which the parent sends.
#[inline]
pub(super) fn disown(state: &State) {
    if state.buffer.borrow().is_inherited() {
        state.buffer.replace(WriteBuffer::new());
        if state.writing.get() == Writing::Blocked {
            state.writing.set(Writing::Idle);
        }
    }
}

/// Sends until the buffer is empty or the kernel is full.
pub(super) fn flush(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    disown(state);
    if state.conn_lost.get() > 0 {
        state.writing.set(Writing::Idle);
        return Ok(());
    }
    let sent = if data(this).core().get().has_faults() {
        faulty::send_piece(this, state)?
    } else {
        send_all(this, state)?
    };
    let Some(blocked) = sent else { return Ok(()) };
    state.writing.set(if blocked {
        Writing::Blocked
    } else {
        Writing::Idle
    });
    update_interest(this, state)?;
    if blocked {
        // The sends so far may already have brought the buffer below the low mark.
        shrunk(this, state)?;
        return grown(this, state);
    }
    shrunk(this, state)?;
    emptied(this, state)?;
    unstrained(this, state)
}

/// Sends until the buffer is empty, which is `false`, or the kernel is full, which is `true`. `None` after an error,
/// which has closed the connection.
#[inline]
fn send_all(this: &Bound<'_, Stream>, state: &State) -> PyResult<Option<bool>> {
    while !state.buffer.borrow().is_empty() {
        match send(state) {
            // Fewer than offered do not say that the kernel is full: it may have had no memory for more, and then
            // reports no room later.
            Ok(count) => sent(this, state, count)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if is_full(this, state)? {
                    return Ok(Some(true));
                }
            }
            Err(error) => return broken(this, state, error).map(|()| None),
        }
    }
    Ok(Some(false))
}

/// The socket is broken.
#[cold]
pub(super) fn broken(this: &Bound<'_, Stream>, state: &State, error: io::Error) -> PyResult<()> {
    state.writing.set(Writing::Idle);
    let error = os_error(error);
    fail_waiter(this, state, &error)?;
    fail(this, WRITE_ERROR, error)
}

/// Sends from the front of the buffer.
#[inline]
fn send(state: &State) -> io::Result<usize> {
    let buffer = state.buffer.borrow();
    match buffer.single() {
        Some(bytes) => socket::send(state.life.fd, bytes),
        None => send_vectored(state.life.fd, &buffer),
    }
}

#[inline(never)]
fn send_vectored(fd: RawFd, buffer: &WriteBuffer<PyBackedBytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = buffer.fill(&mut slices);
    socket::send_vectored(fd, &slices[..count])
}

/// Removes `count` bytes that the kernel took.
#[inline]
pub(super) fn sent(this: &Bound<'_, Stream>, state: &State, count: usize) -> PyResult<()> {
    state.life.meters.bytes_out.add_size(count);
    state.life.traffic.note_out();
    let over = state.buffer.borrow_mut().advance(count);
    if let Some(bytes) = over {
        let py = this.py();
        let Ok(bytes) = bytes.into_pyobject(py);
        let length = bytes.as_bytes().len();
        let local = data(this).local(py)?;
        local.scratch.spares().offer(bytes, length);
    }
    Ok(())
}

/// The kernel took everything; pauses a protocol all the same whose peer is slow while memory is short.
#[inline]
pub(super) fn unstrained(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    if state.life.meters.pressure.level() == Level::None {
        Ok(())
    } else {
        strain(this, state)
    }
}

#[cold]
fn strain(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let strained = state.flow.strain(this, &state.life);
    strained.and(update_interest(this, state))
}

/// Registers interest in room to write; `false` when there is room already.
pub(super) fn is_full(this: &Bound<'_, Stream>, state: &State) -> PyResult<bool> {
    if !state.watches_room.replace(true) {
        watch_room(this, state)?;
    }
    let registration = state.life.registration.borrow();
    Ok(!registration.as_ref().is_some_and(Registration::filled))
}

#[cold]
fn watch_room(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let Some(registration) = state.life.registration.take() else {
        return Ok(());
    };
    let local = data(this).local(this.py())?;
    let registration = local.widen(registration)?;
    // Arm the new registration; data that is there already comes as an event.
    registration.arm_read();
    state.life.registration.replace(Some(registration));
    Ok(())
}

/// The buffer is empty: completes what waited for that.
fn emptied(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let py = this.py();
    if !state.buffer.borrow().is_empty() {
        return Ok(()); // `resume_writing` wrote more.
    }
    let waiter = state
        .empty_waiter
        .borrow()
        .as_ref()
        .map(|waiter| waiter.clone_ref(py));
    if let Some(waiter) = waiter
        && !waiter.call_method0(py, name!(py, "done"))?.is_truthy(py)?
    {
        waiter.call_method1(py, name!(py, "set_result"), (py.None(),))?;
    }
    if state.life.phase.get() == Phase::Closing {
        if state.conn_lost.get() == 0 {
            lose(this, state, None)?;
        }
    } else if state.end_of_writing.get() {
        // Ignored, as in asyncio: a read will report that the connection is gone.
        let _ = socket::shutdown_write(state.life.fd);
    }
    Ok(())
}

/// Calls `pause_writing` when the buffer is above the high mark.
pub(crate) fn grown(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let size = state.buffer.borrow().len();
    state.flow.grown(this, &state.life, size)
}

/// Calls `resume_writing` when the buffer is at or below the low mark.
#[inline]
fn shrunk(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let size = state.buffer.borrow().len();
    state.flow.shrunk(this, &state.life, size)
}

/// Sends what is buffered, then closes the connection.
pub(crate) fn close(this: &Bound<'_, Stream>) -> PyResult<()> {
    let state = data(this).state(this.py())?;
    if !state.life.is_open() {
        return Ok(());
    }
    settle(this, &state)?;
    if !state.life.is_open() {
        return Ok(()); // Sending failed, which has closed the transport.
    }
    begin_closing(this, &state)?;
    if state.buffer.borrow().is_empty() {
        lose(this, &state, None)
    } else {
        Ok(())
    }
}

pub(super) const WRITE_ERROR: &str = "Fatal write error on socket transport";

/// Chunks passed to the kernel in one call.
const SLICES: usize = 64;
