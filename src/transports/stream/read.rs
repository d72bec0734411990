//! From a readable socket to the protocol.

use std::io::{self, ErrorKind};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::flush::{close, settle};
use super::state::{Cut, Decode, State, Stream};
use crate::driver::is_inherited;
use crate::errors::os_error;
use crate::ffi::buffer::{Place, View};
use crate::ffi::{bytes, call, data, make, name};
use crate::scheduler::READ_SIZE;
use crate::sys::buffer::ReadBuffer;
use crate::sys::socket;
use crate::transports::lifecycle::{Reading, Transport, fail, log_of, update_interest};
use crate::transports::protocol::Delivery;
use crate::transports::stream_reader::{self, Reader, Taker, Target};

/// The number of bytes, and the bytes themselves if the reader's buffer could not take them.
type Received = (usize, Option<Py<PyBytes>>);

/// The result of one read.
enum Found {
    /// The read filled the buffer, or the kernel cut it short: there may be more.
    Full,
    /// The socket is empty.
    All,
    /// There is more, for a later pass.
    Piece,
    End,
    /// No bytes and no end of stream.
    Nothing,
}

/// Reads until the socket is empty or the turn's share is used up.
pub(crate) fn on_readable(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    for _ in 0..MAX_READS {
        let is_off = state.reading.get() != Reading::On || is_inherited(&state.life.registration);
        if is_off || state.life.is_held() {
            return Ok(());
        }
        let Some(protocol) = state.life.protocol(this.py()) else {
            return Ok(());
        };
        let found = match state.decoder.get() {
            None => deliver(this, state, &protocol)?,
            Some(decoder) => through_decoder(this, state, decoder, &protocol)?,
        };
        match found {
            Found::End => return at_end(this, state, &protocol),
            Found::Piece => return Ok(()),
            Found::Full => {
                let core = data(this).core().bind(this.py());
                core.get().local(this.py())?.callback_over(core)?;
            }
            Found::All | Found::Nothing => {
                if let Some(registration) = &*state.life.registration.borrow()
                    && registration.drained()
                {
                    // The end of the stream: callbacks that the data scheduled run first, as in asyncio.
                    registration.fire_read();
                }
                return Ok(());
            }
        }
    }
    // Yields to the other sources; the next pass continues.
    if let Some(registration) = &*state.life.registration.borrow() {
        registration.fire_read();
    }
    Ok(())
}

#[inline]
fn deliver(
    this: &Bound<'_, Stream>,
    state: &State,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Found> {
    match state.delivery.get() {
        Delivery::Buffer => into_buffer(this, state, protocol),
        Delivery::Bytes => as_bytes(this, state, protocol),
        Delivery::Reader => {
            let found = match Target::of(protocol)? {
                Some(Target::Whole(taker)) => into_taker(this, state, &taker),
                Some(Target::Buffer(reader)) => into_reader(this, state, &reader),
                None => as_bytes(this, state, protocol),
            }?;
            // Not for the end of the stream, which is the second event of a connection that is used once.
            if !matches!(found, Found::End | Found::Nothing) && state.uses.reads_again() {
                stream_reader::adopt(data(this).core().bind(this.py()), protocol)?;
            }
            Ok(found)
        }
    }
}

/// `data_received(bytes)`.
fn as_bytes(
    this: &Bound<'_, Stream>,
    state: &State,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Found> {
    let py = this.py();
    let local = data(this).local(py)?;
    let mut capacity = READ_SIZE;
    let outcome = if state.large_reads.get() {
        bytes::read_into_new(py, READ_SIZE, |buffer| receive(state, buffer))?
    } else {
        local.with_read_buffer(|buffer| {
            let count = match receive(state, buffer) {
                Ok(count) => count,
                Err(error) => return Ok(Err(error)),
            };
            let received;
            (received, capacity) = local.scratch.spares().make(py, buffer.filled())?;
            Ok::<_, PyErr>(Ok((received, count)))
        })??
    };
    let (received, count) = match outcome {
        Ok(received) => received,
        Err(error) => return broken(this, error),
    };
    if count == 0 {
        return Ok(Found::End);
    }
    let found = note(state, count, READ_SIZE);
    let name = name!(py, "data_received");
    let delivered = call::method(protocol, name, [received.as_any()]);
    local.scratch.spares().offer(received, capacity);
    if let Err(error) = delivered {
        raised(this, state, DATA_FAILED, error)?;
    }
    Ok(found)
}

/// Reads directly into the protocol's own buffer.
fn into_buffer(
    this: &Bound<'_, Stream>,
    state: &State,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Found> {
    let py = this.py();
    let hint = make::signed(py, -1)?.into_any();
    let buffer = call::method(protocol, name!(py, "get_buffer"), [&hint]).and_then(with_room);
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(error) => {
            let message = "Fatal error: protocol.get_buffer() call failed.";
            fail(this, message, error)?;
            return Ok(Found::Nothing);
        }
    };
    let mut place = Place::default();
    let Ok(mut view) = View::writable(&buffer, &mut place) else {
        fail(this, READ_ERROR, unwritable(&buffer)?)?;
        return Ok(Found::Nothing);
    };
    let room = view.len();
    let received = receive(state, &mut view.room());
    drop(view);
    let count = match received {
        Ok(0) => return Ok(Found::End),
        Ok(count) => count,
        Err(error) => return broken(this, error),
    };
    let found = found(state, count, room);
    let count = make::int(py, count)?.into_any();
    let name = name!(py, "buffer_updated");
    let delivered = call::method(protocol, name, [&count]);
    if let Err(error) = delivered {
        raised(
            this,
            state,
            "Fatal error: protocol.buffer_updated() call failed.",
            error,
        )?;
    }
    Ok(found)
}

/// Reads directly into asyncio's own reader.
fn into_reader(this: &Bound<'_, Stream>, state: &State, reader: &Reader<'_>) -> PyResult<Found> {
    let outcome = if state.large_reads.get() {
        let appended =
            bytes::append_into(reader.buffer(), READ_SIZE, |buffer| receive(state, buffer));
        match unless_pinned(this.py(), appended)? {
            Some(outcome) => outcome.map(|count| (count, None)),
            None => return pinned_reader(this, state),
        }
    } else {
        receive_and_append(this, state, reader)?
    };
    let count = match outcome {
        Ok((0, _)) => return Ok(Found::End),
        Ok((count, None)) => count,
        Ok((count, Some(received))) => {
            // The bytes are received already, so pass them to `data_received`, which raises what asyncio raises.
            let received = received.into_bound(this.py()).into_any();
            return past_reader(this, state, &received, count);
        }
        Err(error) => return broken(this, error),
    };
    let found = note(state, count, READ_SIZE);
    fed(this, state, reader.fed())?;
    Ok(found)
}

/// Reads into a `bytes` that becomes the reader's buffer.
fn into_taker<'py>(
    this: &Bound<'py, Stream>,
    state: &State,
    taker: &Taker<'py>,
) -> PyResult<Found> {
    let py = this.py();
    let outcome = if state.large_reads.get() {
        bytes::read_into_new(py, READ_SIZE, |buffer| receive(state, buffer))?
    } else {
        data(this).local(py)?.with_read_buffer(|buffer| {
            let count = match receive(state, buffer) {
                Ok(count) => count,
                Err(error) => return Ok(Err(error)),
            };
            Ok::<_, PyErr>(Ok((make::bytes(py, buffer.filled())?, count)))
        })??
    };
    let (received, count) = match outcome {
        Ok((_, 0)) => return Ok(Found::End),
        Ok(received) => received,
        Err(error) => return broken(this, error),
    };
    let found = note(state, count, READ_SIZE);
    fed(this, state, taker.take(&received))?;
    Ok(found)
}

/// A reader was fed: closes the connection if that failed.
#[inline]
fn fed(this: &Bound<'_, Stream>, state: &State, fed: PyResult<()>) -> PyResult<()> {
    match fed {
        Ok(()) => Ok(()),
        Err(error) => raised(this, state, DATA_FAILED, error),
    }
}

/// Receives into the loop's read buffer and copies the bytes to the reader's own, or to a `bytes` where a
/// `memoryview` pins the reader's.
#[inline]
fn receive_and_append(
    this: &Bound<'_, Stream>,
    state: &State,
    reader: &Reader<'_>,
) -> PyResult<io::Result<Received>> {
    let py = this.py();
    let local = data(this).local(py)?;
    local.with_read_buffer(|buffer| {
        let count = match receive(state, buffer) {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        let received = buffer.filled();
        let copied = match unless_pinned(py, bytes::extend(reader.buffer(), received))? {
            Some(()) => None,
            None => Some(make::bytes(py, received)?.unbind()),
        };
        Ok(Ok((count, copied)))
    })?
}

#[cold]
fn past_reader(
    this: &Bound<'_, Stream>,
    state: &State,
    received: &Bound<'_, PyAny>,
    count: usize,
) -> PyResult<Found> {
    let Some(protocol) = state.life.protocol(this.py()) else {
        return Ok(Found::Nothing);
    };
    let name = name!(this.py(), "data_received");
    if let Err(error) = call::method(&protocol, name, [received]) {
        raised(this, state, DATA_FAILED, error)?;
    }
    Ok(note(state, count, READ_SIZE))
}

/// Reads once and passes the bytes through `decoder`.
fn through_decoder(
    this: &Bound<'_, Stream>,
    state: &State,
    decoder: Decode,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Found> {
    let mut found = Found::End;
    let outcome = decoder(protocol, &mut |buffer| {
        let count = receive(state, buffer)?;
        if count > 0 {
            found = note(state, count, READ_SIZE);
        }
        Ok(count)
    })?;
    match outcome {
        Ok(Ok(())) => Ok(found),
        Ok(Err(error)) => {
            // asyncio's TLS is a `BufferedProtocol`.
            raised(
                this,
                state,
                "Fatal error: protocol.buffer_updated() call failed.",
                error,
            )?;
            Ok(found)
        }
        Err(error) => broken(this, error),
    }
}

/// Replaces the error that a `memoryview` pins the buffer with `None`.
#[inline]
fn unless_pinned<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if bytes::is_pinned(py, &error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A `memoryview` pins the reader's buffer: call `data_received`, which raises what asyncio raises.
fn pinned_reader(this: &Bound<'_, Stream>, state: &State) -> PyResult<Found> {
    match state.life.protocol(this.py()) {
        Some(protocol) => as_bytes(this, state, &protocol),
        None => Ok(Found::Nothing),
    }
}

/// Handles the end of the stream.
fn at_end(this: &Bound<'_, Stream>, state: &State, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    log_of(this, "debug", "%r received EOF")?;
    let keep_open =
        call::method(protocol, name!(py, "eof_received"), []).and_then(|answer| answer.is_truthy());
    match keep_open {
        Err(error) => raised(
            this,
            state,
            "Fatal error: protocol.eof_received() call failed.",
            error,
        )?,
        Ok(true) => {
            if state.reading.get() == Reading::On {
                state.reading.set(Reading::Ended);
                update_interest(this, state)?;
            }
        }
        Ok(false) => close(this)?,
    }
    Ok(())
}

/// Reads once, and records whether the kernel cut the read short.
#[inline]
fn receive(state: &State, buffer: &mut ReadBuffer<'_>) -> io::Result<usize> {
    let (count, cut) = match state.most.get() {
        None => {
            let (count, is_cut) = socket::recv_stream(state.life.fd, buffer, state.stops)?;
            (count, if is_cut { Cut::Perhaps } else { Cut::No })
        }
        Some(most) => (socket::recv_some(state.life.fd, buffer, most)?, Cut::Most),
    };
    state.cut.set(cut);
    state.life.traffic.note_in();
    state.life.meters.bytes_in.add_size(count);
    Ok(count)
}

/// Records how much was read, for the next read.
#[inline]
fn note(state: &State, count: usize, room: usize) -> Found {
    state.large_reads.set(count > SMALL_READ);
    found(state, count, room)
}

/// Derives from a read of `count` bytes into `room` whether there may be more.
#[inline]
fn found(state: &State, count: usize, room: usize) -> Found {
    match state.cut.get() {
        Cut::No if count != room => Found::All,
        Cut::No | Cut::Perhaps => Found::Full,
        Cut::Most => Found::Piece,
    }
}

/// A protocol method raised: sends what it wrote before, as asyncio would have, and closes the connection.
#[cold]
fn raised(this: &Bound<'_, Stream>, state: &State, message: &str, error: PyErr) -> PyResult<()> {
    let settled = settle(this, state);
    settled.and(fail(this, message, error))
}

/// Closes the connection on an error of the socket, unless there is merely nothing to read.
fn broken(this: &Bound<'_, Stream>, error: io::Error) -> PyResult<Found> {
    if error.kind() != ErrorKind::WouldBlock {
        fail(this, READ_ERROR, os_error(error))?;
    }
    Ok(Found::Nothing)
}

/// The buffer of a buffered protocol; an error if it is empty (asyncio's message, `selector_events.py`).
pub(crate) fn with_room(buffer: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    if buffer.len()? > 0 {
        Ok(buffer)
    } else {
        Err(PyRuntimeError::new_err(
            "get_buffer() returned an empty buffer",
        ))
    }
}

/// The error that `socket.recv_into` raises for a read-only buffer.
fn unwritable(buffer: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let class = buffer.get_type().name()?;
    Ok(PyTypeError::new_err(format!(
        "recv_into() argument 1 must be read-write bytes-like object, not {class}"
    )))
}

/// asyncio's message, as all messages in this file.
const DATA_FAILED: &str = "Fatal error: protocol.data_received() call failed.";
pub(super) const READ_ERROR: &str = "Fatal read error on socket transport";
/// Reads per turn, so that a peer that never stops sending does not starve the other sources.
const MAX_READS: usize = 8;
/// Up to this size, a copy from the shared buffer is cheaper than allocating a large object.
const SMALL_READ: usize = 4096;
