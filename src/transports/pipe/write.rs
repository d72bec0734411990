//! The writing end of a pipe.
//!
//! The peer never sends, so readability of the descriptor, or an error on it, means that the reading end was closed.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::io::{ErrorKind, IoSlice};

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::methods;
use super::{FileKind, Pipe, Side, State, lose, register};
use crate::driver::{Direction, Registration, is_inherited};
use crate::errors::os_error;
use crate::ffi::buffer::{Place, View, is_bytes_like};
use crate::ffi::{Class, Members, Visitor, data, make, members};
use crate::scheduler::READ;
use crate::sys::pipe;
use crate::transports::flow::Flow;
use crate::transports::flow_control::HIGH;
use crate::transports::lifecycle::{Phase, Transport, fail, log_of, update_interest};
use crate::transports::logger::count_lost_write;
use crate::transports::members::{attribute, boolean, limits, method, single};
use crate::transports::write_buffer::WriteBuffer;

/// The state of a writing end.
#[derive(Debug)]
pub(crate) struct WriteSide {
    buffer: RefCell<WriteBuffer<PyBackedBytes>>,
    flow: Flow,
    /// The kernel is full; the reactor fires when it has room again.
    blocked: Cell<bool>,
    /// The registration includes room to write. It does not until the kernel is full for the first time, because on a
    /// socket each read of the peer would wake the loop.
    both: Cell<bool>,
    /// Failed writes and writes after the end, counted as in asyncio.
    conn_lost: Cell<usize>,
}

/// `WritePipeTransport`: an `asyncio.WriteTransport`.
pub(crate) type WritePipe = Pipe<WriteSide>;

impl Side for WriteSide {
    const NAME: &'static CStr = c"yamanote._yamanote.WritePipeTransport";
    const DOC: &'static CStr = c"A transport that writes to a pipe, FIFO, socket or terminal.";
    // asyncio's class has this base too, although it reads nothing.
    const BASE: &'static str = "Transport";
    const REFUSED: &'static str = "Pipe transport is only for pipes, sockets and character devices";
    const WRITES: bool = true;

    fn new() -> Self {
        Self {
            buffer: RefCell::new(WriteBuffer::new()),
            flow: Flow::new(),
            blocked: Cell::new(false),
            both: Cell::new(false),
            conn_lost: Cell::new(0),
        }
    }

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn members() -> Members {
        members!(methods::members::<Self>();
            methods: Write, WriteEof, CanWriteEof, Close, Abort, SetWriteBufferLimits,
                GetWriteBufferLimits, GetWriteBufferSize;
            attributes: ProtocolPaused)
    }

    fn is_waiting(state: &State<Self>) -> bool {
        watches_peer(state) || state.side.blocked.get()
    }

    fn begin(this: &Bound<'_, WritePipe>, state: &State<Self>) -> PyResult<()> {
        if watches_peer(state) && state.life.registration.borrow().is_none() {
            register(this, state, Direction::Read)?;
            watch_peer(state);
        }
        update_interest(this, state)
    }

    fn on_ready(this: &Bound<'_, WritePipe>, state: &State<Self>, ready: u8) -> PyResult<()> {
        if state.is_losing() || is_inherited(&state.life.registration) {
            return Ok(());
        }
        if watches_peer(state) && (ready & READ != 0 || is_peer_gone(state)) {
            let logged = log_of(this, "info", "%r was closed by peer");
            let error = !state.side.buffer.borrow().is_empty();
            let error = error.then(|| PyBrokenPipeError::new_err(()));
            return logged.and(end(this, state, error));
        }
        if state.side.blocked.get() {
            return flush(this, state);
        }
        watch_peer(state);
        Ok(())
    }

    fn describe(state: &State<Self>) -> String {
        let polls = if state.side.blocked.get() {
            "polling"
        } else {
            "idle"
        };
        format!("{polls} bufsize={}", state.side.buffer.borrow().len())
    }

    fn traverse(&self, visitor: &mut Visitor) {
        self.flow.traverse(visitor);
    }
}

/// Whether the transport watches for the reading end to close. asyncio does not for terminals.
fn watches_peer(state: &State<WriteSide>) -> bool {
    state.kind != FileKind::Character
}

fn is_peer_gone(state: &State<WriteSide>) -> bool {
    let registration = state.life.registration.borrow();
    registration
        .as_ref()
        .is_some_and(Registration::is_write_closed)
}

/// Arms for the event that the reading end was closed.
fn watch_peer(state: &State<WriteSide>) {
    if watches_peer(state)
        && let Some(registration) = &*state.life.registration.borrow()
    {
        let closed = registration.filled();
        if registration.arm_read() || closed {
            registration.fire_read();
        }
    }
}

/// Implements `write()`: writes what the kernel takes and buffers the rest.
fn write(
    this: &Bound<'_, WritePipe>,
    state: &State<WriteSide>,
    bytes: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if !is_bytes_like(bytes) {
        let text = bytes.repr()?.unbind();
        return Err(PyAssertionError::new_err(text));
    }
    if bytes.is_empty()? {
        return Ok(());
    }
    let lost = &state.side.conn_lost;
    if lost.get() > 0 || !state.life.is_open() {
        let text = "pipe closed by peer or os.write(pipe, data) raised exception.";
        return count_lost_write(this.py(), lost, text);
    }
    match take(state, bytes)? {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(error) => return broken(this, state, error),
    }
    if state.side.blocked.get() {
        return grown(this, state);
    }
    flush(this, state)
}

/// Writes at once if the buffer is empty, and buffers the rest; `false` when nothing is left. The outer error is
/// `MemoryError` before anything was written; the inner one ends the connection.
fn take(state: &State<WriteSide>, bytes: &Bound<'_, PyAny>) -> PyResult<PyResult<bool>> {
    disown(state);
    if let Ok(bytes) = bytes.cast_exact::<PyBytes>() {
        let sent = match write_at_once(state, bytes.as_bytes()) {
            Ok(sent) => sent,
            Err(error) => return Ok(Err(error)),
        };
        if sent == bytes.as_bytes().len() {
            return Ok(Ok(false));
        }
        let mut buffer = state.side.buffer.borrow_mut();
        return match buffer.push(bytes.clone().into()) {
            Ok(()) => {
                buffer.advance(sent);
                Ok(Ok(true))
            }
            Err(error) if sent == 0 => Err(make::no_memory(error)),
            Err(error) => Ok(Err(make::no_memory(error))),
        };
    }
    let mut place = Place::default();
    let view = match View::readable(bytes, &mut place) {
        Ok(view) => view,
        Err(error) => return Ok(Err(error)),
    };
    // Allocate first, so that a write is not left incomplete for lack of memory.
    let mut room = Vec::new();
    room.try_reserve_exact(view.len())
        .map_err(make::no_memory)?;
    let rest = match write_at_once(state, view.bytes()) {
        Ok(sent) => &view.bytes()[sent..],
        Err(error) => return Ok(Err(error)),
    };
    if rest.is_empty() {
        return Ok(Ok(false));
    }
    let pushed = state.side.buffer.borrow_mut().push_into(room, rest);
    match pushed {
        Ok(()) => Ok(Ok(true)),
        Err(error) if rest.len() == view.len() => Err(make::no_memory(error)),
        Err(error) => Ok(Err(make::no_memory(error))),
    }
}

/// The number of bytes that the kernel takes; 0 if bytes are buffered already.
fn write_at_once(state: &State<WriteSide>, bytes: &[u8]) -> PyResult<usize> {
    if !state.side.buffer.borrow().is_empty() {
        return Ok(0);
    }
    match pipe::write(state.life.fd, bytes) {
        Ok(count) => {
            state.life.meters.bytes_out.add_size(count);
            Ok(count)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(os_error(error)),
    }
}

/// In a forked child: drops the bytes that its parent wrote, which the parent sends.
fn disown(state: &State<WriteSide>) {
    if state.side.buffer.borrow().is_inherited() {
        state.side.buffer.replace(WriteBuffer::new());
        state.side.blocked.set(false);
    }
}

/// Writes until the buffer is empty or the kernel is full.
fn flush(this: &Bound<'_, WritePipe>, state: &State<WriteSide>) -> PyResult<()> {
    disown(state);
    while !state.side.buffer.borrow().is_empty() {
        let outcome = {
            let buffer = state.side.buffer.borrow();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = buffer.fill(&mut slices);
            pipe::write_vectored(state.life.fd, &slices[..count])
        };
        let is_full = match outcome {
            // Fewer than offered do not say that the kernel is full: it may have had no memory for more, and then
            // reports no room later.
            Ok(count) => {
                state.life.meters.bytes_out.add_size(count);
                state.side.buffer.borrow_mut().advance(count);
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => return broken(this, state, os_error(error)),
        };
        if is_full && wait_for_room(this, state)? {
            // The writes so far may already have brought the buffer below the low mark.
            shrunk(this, state)?;
            return grown(this, state);
        }
        if state.is_losing() {
            return Ok(());
        }
    }
    state.side.blocked.set(false);
    watch_peer(state);
    update_interest(this, state)?;
    shrunk(this, state)?;
    // `resume_writing` may have written more.
    if state.life.phase.get() == Phase::Closing && state.side.buffer.borrow().is_empty() {
        return lose(this, state, None);
    }
    Ok(())
}

/// Registers interest in room to write; `false` when there may be room already.
fn wait_for_room(this: &Bound<'_, WritePipe>, state: &State<WriteSide>) -> PyResult<bool> {
    if !state.side.both.replace(true)
        && let Err(error) = watch_both(this, state)
    {
        return broken(this, state, error).map(|()| true);
    }
    let blocked = match &*state.life.registration.borrow() {
        Some(registration) => !registration.filled(),
        None => false,
    };
    state.side.blocked.set(blocked);
    if blocked {
        update_interest(this, state)?;
    }
    Ok(blocked)
}

fn watch_both(this: &Bound<'_, WritePipe>, state: &State<WriteSide>) -> PyResult<()> {
    if let Some(registration) = state.life.registration.take() {
        let local = data(this).local(this.py())?;
        state
            .life
            .registration
            .replace(Some(local.widen(registration)?));
    } else {
        register(this, state, Direction::Both)?;
    }
    if let Some(registration) = &*state.life.registration.borrow() {
        registration.arm_read();
    }
    Ok(())
}

/// A write failed: drops the buffer and ends the connection.
fn broken(this: &Bound<'_, WritePipe>, state: &State<WriteSide>, error: PyErr) -> PyResult<()> {
    state.side.buffer.borrow_mut().clear();
    state.side.blocked.set(false);
    state.side.conn_lost.set(state.side.conn_lost.get() + 1);
    fail(this, "Fatal write error on pipe transport", error)
}

/// Ends the connection without writing what is buffered.
fn end(
    this: &Bound<'_, WritePipe>,
    state: &State<WriteSide>,
    error: Option<PyErr>,
) -> PyResult<()> {
    let py = this.py();
    state.side.buffer.borrow_mut().clear();
    state.side.blocked.set(false);
    let error = error.map(|error| error.into_value(py).into_bound(py).into_any());
    lose(this, state, error)
}

/// Writes what is buffered, then ends the connection.
fn close(this: &Bound<'_, WritePipe>, state: &State<WriteSide>) -> PyResult<()> {
    if !state.life.is_open() {
        return Ok(());
    }
    state.life.phase.set(Phase::Closing);
    if state.side.buffer.borrow().is_empty() {
        lose(this, state, None)
    } else {
        Ok(())
    }
}

/// Calls `pause_writing` when the buffer is above the high mark.
fn grown(this: &Bound<'_, WritePipe>, state: &State<WriteSide>) -> PyResult<()> {
    if state.is_losing() {
        return Ok(());
    }
    let size = state.side.buffer.borrow().len();
    state.side.flow.grown(this, &state.life, size)
}

/// Calls `resume_writing` when the buffer is at or below the low mark.
fn shrunk(this: &Bound<'_, WritePipe>, state: &State<WriteSide>) -> PyResult<()> {
    if state.is_losing() {
        return Ok(());
    }
    let size = state.side.buffer.borrow().len();
    state.side.flow.shrunk(this, &state.life, size)
}

type This = WritePipe;

method!(
    Write,
    "write",
    "($self, data)",
    "Write bytes, at once or when there is room, without blocking. `data` may be changed afterwards.",
    |this, state, arguments| write(this, &state, &single(arguments, "write", "data")?)
);

method!(
    WriteEof,
    "write_eof",
    "Write what is buffered, then close: a pipe has no other way to signal the end of the data.",
    |this, state| close(this, &state)
);

method!(CanWriteEof, "can_write_eof", "True.", |this, _state| Ok(
    boolean(this.py(), true)
));

method!(
    Close,
    "close",
    "Write what is buffered, then close; `connection_lost(None)` is called in a later turn.",
    |this, state| close(this, &state)
);

method!(
    Abort,
    "abort",
    "Close without writing what is buffered; `connection_lost(None)` is called in a later turn.",
    |this, state| end(this, &state, None)
);

method!(
    SetWriteBufferLimits,
    "set_write_buffer_limits",
    "($self, high=None, low=None)",
    "Pause the protocol's writing above `high` buffered bytes, resume it at `low`.",
    |this, state, arguments| {
        let marks = limits(arguments, "set_write_buffer_limits", HIGH)?;
        state.side.flow.set(marks)?;
        grown(this, &state)
    }
);

method!(
    GetWriteBufferLimits,
    "get_write_buffer_limits",
    "`(low, high)`, in bytes.",
    |this, state| state.side.flow.limits(this.py())
);

method!(
    GetWriteBufferSize,
    "get_write_buffer_size",
    "Bytes that the kernel has not taken yet.",
    |this, state| Ok(make::int(this.py(), state.side.buffer.borrow().len())?.into_any())
);

attribute!(ProtocolPaused, c"_protocol_paused", |this, state| {
    Ok(state.side.flow.is_paused())
});

/// Chunks passed to the kernel in one call.
const SLICES: usize = 64;
