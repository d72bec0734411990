//! The reading end of a pipe.

use std::cell::Cell;
use std::ffi::CStr;
use std::io::{self, ErrorKind};

use pyo3::prelude::*;

use super::methods;
use super::{FileKind, Pipe, Side, State, lose, register};
use crate::driver::{Direction, is_inherited};
use crate::errors::os_error;
use crate::ffi::buffer::{Place, View};
use crate::ffi::context::copy_current;
use crate::ffi::{Class, Members, bytes, call, data, make, members, name};
use crate::scheduler::tracer::Kind;
use crate::scheduler::{Deferred, READ_SIZE};
use crate::sys::buffer::ReadBuffer;
use crate::sys::pipe;
use crate::transports::lifecycle::{
    Phase, Transport, call_protocol_in, cast, fail, fail_aloud, log_of, report_step,
    update_interest,
};
use crate::transports::members::method;
use crate::transports::protocol::{Delivery, callback_failed};
use crate::transports::stream::read::with_room;
use crate::transports::stream_reader::Reader;

/// The state of a reading end.
#[derive(Debug)]
pub(crate) struct ReadSide {
    paused: Cell<bool>,
    /// The last read was large, so the next one goes directly into a new `bytes`.
    large_reads: Cell<bool>,
}

/// `ReadPipeTransport`: an `asyncio.ReadTransport`.
pub(crate) type ReadPipe = Pipe<ReadSide>;

/// The result of one read.
enum Found {
    /// There may be more.
    More,
    /// Nothing more for now.
    All,
    End,
}

impl Side for ReadSide {
    const NAME: &'static CStr = c"yamanote._yamanote.ReadPipeTransport";
    const DOC: &'static CStr = c"A transport that reads from a pipe, FIFO, socket or terminal.";
    const BASE: &'static str = "ReadTransport";
    const REFUSED: &'static str = "Pipe transport is for pipes/sockets only.";
    const WRITES: bool = false;

    fn new() -> Self {
        Self {
            paused: Cell::new(false),
            large_reads: Cell::new(false),
        }
    }

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn members() -> Members {
        members!(methods::members::<Self>();
            methods: Close, IsReading, PauseReading, ResumeReading)
    }

    fn is_waiting(state: &State<Self>) -> bool {
        is_reading(state)
    }

    fn begin(this: &Bound<'_, ReadPipe>, state: &State<Self>) -> PyResult<()> {
        register(this, state, Direction::Read)?;
        go_on(this, state)
    }

    fn on_ready(this: &Bound<'_, ReadPipe>, state: &State<Self>, _ready: u8) -> PyResult<()> {
        for _ in 0..MAX_READS {
            if !is_reading(state) || is_inherited(&state.life.registration) {
                return Ok(());
            }
            match read(this, state)? {
                Found::More => {
                    let core = data(this).core().bind(this.py());
                    core.get().local(this.py())?.callback_over(core)?;
                }
                Found::All => {
                    drained(state);
                    return Ok(());
                }
                Found::End => return at_end(this, state),
            }
        }
        // Yields to the other sources; the next pass continues.
        if let Some(registration) = &*state.life.registration.borrow() {
            registration.fire_read();
        }
        Ok(())
    }

    fn describe(state: &State<Self>) -> String {
        let polls = is_reading(state) && state.life.registration.borrow().is_some();
        if polls { "polling" } else { "idle" }.to_owned()
    }
}

fn is_reading(state: &State<ReadSide>) -> bool {
    state.life.is_open() && !state.side.paused.get()
}

/// Arms for reading, and reads in a later turn if data may be there already.
fn go_on(this: &Bound<'_, ReadPipe>, state: &State<ReadSide>) -> PyResult<()> {
    update_interest(this, state)?;
    if let Some(registration) = &*state.life.registration.borrow()
        && registration.arm_read()
    {
        registration.fire_read();
    }
    Ok(())
}

/// Nothing more for now; the reactor fires when there is.
fn drained(state: &State<ReadSide>) {
    if let Some(registration) = &*state.life.registration.borrow()
        && registration.drained()
    {
        // The end of the stream: callbacks that the data scheduled run first, as in asyncio.
        registration.fire_read();
    }
}

fn read(this: &Bound<'_, ReadPipe>, state: &State<ReadSide>) -> PyResult<Found> {
    let Some(protocol) = state.life.protocol(this.py()) else {
        return Ok(Found::All);
    };
    if state.delivery.get() == Delivery::Reader
        && let Some(reader) = Reader::of(&protocol)?
        && let Some(found) = into_reader(this, state, &reader)?
    {
        return Ok(found);
    }
    if state.delivery.get() == Delivery::Buffer {
        return into_buffer(this, state, &protocol);
    }
    as_bytes(this, state, &protocol)
}

/// Reads directly into the protocol's own buffer.
fn into_buffer(
    this: &Bound<'_, ReadPipe>,
    state: &State<ReadSide>,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Found> {
    let py = this.py();
    let buffer = match get_buffer(protocol) {
        Ok(buffer) => buffer,
        Err(error) => {
            let message = "Fatal error: protocol.get_buffer() call failed.";
            fail_aloud(this, message, error)?;
            return Ok(Found::All);
        }
    };
    let mut place = Place::default();
    let mut view = match View::writable(&buffer, &mut place) {
        Ok(view) => view,
        Err(error) => {
            fail_aloud(this, READ_ERROR, error)?;
            return Ok(Found::All);
        }
    };
    let room = view.len();
    let outcome = receive(state, &mut view.room());
    drop(view);
    let count = match outcome {
        Ok(count) if count > 0 => count,
        outcome => return nothing(this, outcome),
    };
    let found = if count == room {
        Found::More
    } else {
        note(state, count)
    };
    let count = count.into_pyobject(py)?.into_any();
    let name = name!(py, "buffer_updated");
    match call::method(protocol, name, [&count]) {
        Ok(_) => Ok(found),
        Err(error) => {
            let core = data(this).core().bind(py);
            callback_failed(core, this.as_any(), protocol, name, &[&count], error).map(|()| found)
        }
    }
}

/// The protocol's buffer, which must not be empty.
fn get_buffer<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = protocol.py();
    let hint = make::signed(py, -1)?.into_any();
    call::method(protocol, name!(py, "get_buffer"), [&hint]).and_then(with_room)
}

/// `data_received(bytes)`.
fn as_bytes(
    this: &Bound<'_, ReadPipe>,
    state: &State<ReadSide>,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<Found> {
    let py = this.py();
    let outcome = if state.side.large_reads.get() {
        bytes::read_into_new(py, READ_SIZE, |buffer| receive(state, buffer))?
    } else {
        let local = data(this).local(py)?;
        local.with_read_buffer(|buffer| match receive(state, buffer) {
            Ok(count) => {
                let received = make::bytes(py, buffer.filled())?;
                Ok::<_, PyErr>(Ok((received, count)))
            }
            Err(error) => Ok(Err(error)),
        })??
    };
    let (received, count) = match outcome {
        Ok((received, count)) if count > 0 => (received, count),
        outcome => return nothing(this, outcome.map(|_| 0)),
    };
    let found = note(state, count);
    let name = name!(py, "data_received");
    // asyncio calls it in a handle, so an exception is reported and reading continues.
    match call::method(protocol, name, [received.as_any()]) {
        Ok(_) => Ok(found),
        Err(error) => {
            let core = data(this).core().bind(py);
            let arguments = &[received.as_any()];
            callback_failed(core, this.as_any(), protocol, name, arguments, error).map(|()| found)
        }
    }
}

/// Reads directly into asyncio's own reader; `None`, with nothing read, where a `memoryview` pins its buffer.
fn into_reader(
    this: &Bound<'_, ReadPipe>,
    state: &State<ReadSide>,
    reader: &Reader<'_>,
) -> PyResult<Option<Found>> {
    let py = this.py();
    let room = if state.side.large_reads.get() {
        READ_SIZE
    } else {
        SMALL_READ
    };
    let count = match bytes::append_into(reader.buffer(), room, |buffer| receive(state, buffer)) {
        Ok(Ok(count)) if count > 0 => count,
        Ok(outcome) => return nothing(this, outcome).map(Some),
        Err(error) if bytes::is_pinned(py, &error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = note(state, count);
    if count == room {
        state.side.large_reads.set(true);
    }
    if let Err(error) = reader.fed() {
        // As for `data_received`: reported, and reading continues.
        report_step(this, &state.life, "_read_ready", error)?;
    }
    Ok(Some(found))
}

fn receive(state: &State<ReadSide>, buffer: &mut ReadBuffer<'_>) -> io::Result<usize> {
    let count = pipe::read(state.life.fd, buffer)?;
    state.life.meters.bytes_in.add_size(count);
    Ok(count)
}

/// Records how much was read, for the next read, and checks whether there is more.
fn note(state: &State<ReadSide>, count: usize) -> Found {
    state.side.large_reads.set(count > SMALL_READ);
    // A short read does not mean that the pipe is empty: a terminal returns one line, a pipe written in packet mode
    // (`O_DIRECT`, known only to the writer) one packet, a socket the bytes of one message. Query instead of reading
    // again, because another process that shares the file may have made it blocking. On an error of the query, which
    // is ignored, read once more.
    let has_more = match state.kind {
        FileKind::Fifo => pipe::is_filled(state.life.fd).unwrap_or(true),
        FileKind::Socket | FileKind::Character => pipe::has_input(state.life.fd).unwrap_or(true),
    };
    if has_more { Found::More } else { Found::All }
}

/// Handles a read without bytes: the end, nothing yet, or an error, which ends the connection.
fn nothing(this: &Bound<'_, ReadPipe>, outcome: io::Result<usize>) -> PyResult<Found> {
    match outcome {
        Ok(_) => Ok(Found::End),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Found::All),
        Err(error) => {
            // The other end of a terminal was closed.
            let is_hang_up = pipe::is_hang_up(&error);
            let fail = if is_hang_up { fail } else { fail_aloud };
            fail(this, READ_ERROR, os_error(error))?;
            Ok(Found::All)
        }
    }
}

/// The last writer closed: `eof_received`, then `connection_lost`, whatever the former returns.
fn at_end(this: &Bound<'_, ReadPipe>, state: &State<ReadSide>) -> PyResult<()> {
    let py = this.py();
    let logged = log_of(this, "info", "%r was closed by peer");
    state.life.phase.set(Phase::Closing);
    data(this).local(py)?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        // Ignored: without memory for a copy, the transport's own context serves.
        argument: copy_current(py).ok().map(Bound::unbind),
        step: Kind::EofReceived,
        run: ended,
    });
    logged.and(lose(this, state, None))
}

/// Calls `eof_received` in `context`.
fn ended(this: &Bound<'_, PyAny>, context: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = cast::<ReadPipe>(this)?;
    let transport = data(this);
    let state = transport.state(this.py())?;
    let context = context.map_or_else(|| transport.context().clone_ref(this.py()), Bound::unbind);
    let name = name!(this.py(), "eof_received");
    call_protocol_in(&context, this, &state.life, name, [])
}

fn pause(this: &Bound<'_, ReadPipe>, state: &State<ReadSide>) -> PyResult<()> {
    if !is_reading(state) {
        return Ok(());
    }
    state.side.paused.set(true);
    update_interest(this, state)?;
    log_of(this, "debug", "%r pauses reading")
}

type This = ReadPipe;

method!(
    Close,
    "close",
    "Stop reading, and close; `connection_lost(None)` is called in a later turn.",
    |this, state| {
        if state.life.is_open() {
            lose(this, &state, None)?;
        }
        Ok(())
    }
);

method!(
    IsReading,
    "is_reading",
    "Whether received bytes are delivered.",
    |this, state| Ok(is_reading(&state))
);

method!(
    PauseReading,
    "pause_reading",
    "Deliver nothing until `resume_reading()`; backpressure reaches the writer once the pipe is full.",
    |this, state| pause(this, &state)
);

method!(
    ResumeReading,
    "resume_reading",
    "Resume delivering received bytes.",
    |this, state| {
        if state.life.is_open() && state.side.paused.replace(false) {
            go_on(this, &state)?;
            log_of(this, "debug", "%r resumes reading")?;
        }
        Ok(())
    }
);

const READ_ERROR: &str = "Fatal read error on pipe transport";
/// Reads per turn, so that a writer that never stops does not starve the other sources.
const MAX_READS: usize = 8;
/// Up to this size, a copy from the shared buffer is cheaper than allocating a large object.
const SMALL_READ: usize = 4096;
