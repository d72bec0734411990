//! From `sendto()` to the socket.
//!
//! Small datagrams are gathered and sent in one call. Those sent by the transport's own protocol callbacks wait until
//! all received datagrams are delivered; any others, from the second of a pass on, until the end of the pass. Every
//! method that reads the buffer's state sends them first.

use std::io::{self, ErrorKind};

use pyo3::exceptions::{
    PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::lifecycle::{Phase, Transport, call_protocol, cast, fail, update_interest};
use super::super::logger::count_lost_write;
use super::super::write_buffer::Writing;
use super::queue::{Destination, Outgoing};
use super::state::{Datagrams, Kind, State, lose, register};
use crate::addr;
use crate::driver::{Direction, Registration};
use crate::errors::os_error;
use crate::ffi::buffer::{Place, View, is_bytes_like};
use crate::ffi::{call, data, make, name};
use crate::scheduler::Flush;
use crate::sys::datagram;
use crate::transports::protocol;

/// Implements `sendto()`: sends the datagram now, or queues it.
pub(super) fn send_to(
    this: &Bound<'_, Datagrams>,
    state: &State,
    bytes: &Bound<'_, PyAny>,
    address: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    check(bytes)?;
    if !SENDS_EMPTY && bytes.len()? == 0 {
        return Ok(());
    }
    if let Some(own) = &state.address {
        check_address(own.bind(this.py()), address)?;
    }
    if lost(this, state)? {
        return Ok(());
    }
    let to = destination(this, state, address);
    if let Ok(bytes) = bytes.cast_exact::<PyBytes>()
        && bytes.as_bytes().len() <= AT_ONCE
        && !matches!(to, Destination::Python(_))
        && !goes_at_once(this, state)?
    {
        queue(this, state, bytes.clone(), to)?;
        return schedule(this, state);
    }
    send_now_or_copy(this, state, bytes, to)
}

/// Rejects data that is not bytes-like, as asyncio does.
fn check(bytes: &Bound<'_, PyAny>) -> PyResult<()> {
    if is_bytes_like(bytes) {
        return Ok(());
    }
    let class = bytes.get_type().name()?.repr()?;
    Err(PyTypeError::new_err(format!(
        "data argument must be a bytes-like object, not {class}"
    )))
}

/// Rejects an address other than the endpoint's own, if it has one.
fn check_address(own: &Bound<'_, PyAny>, given: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(given) = given else { return Ok(()) };
    if given.is(own) || given.eq(own)? {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "Invalid address: must be None or {}",
        own.str()?
    )))
}

/// Whether sending is over; counts such sends, and warns from asyncio's threshold on.
fn lost(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<bool> {
    let count = state.conn_lost.get();
    // An asyncio endpoint without an address of its own sends until the socket is closed.
    if count == 0 || (state.address.is_none() && state.life.phase.get() != Phase::Closed) {
        return Ok(false);
    }
    let text = "socket.send() raised exception.";
    count_lost_write(this.py(), &state.conn_lost, text)?;
    Ok(true)
}

fn destination(
    this: &Bound<'_, Datagrams>,
    state: &State,
    address: Option<&Bound<'_, PyAny>>,
) -> Destination {
    if state.is_connected {
        return Destination::Peer;
    }
    let py = this.py();
    let address = match (&state.address, address) {
        (Some(own), _) => own.bind(py),
        (None, Some(given)) => given,
        (None, None) if state.has_nameless_peer => return Destination::Peer,
        (None, None) => return Destination::Python(py.None()),
    };
    let Kind::Internet(version) = state.kind else {
        return Destination::Python(address.clone().unbind());
    };
    // A reply to the last sender needs no conversion of the address.
    let known = state.peers.borrow().address_of(address);
    match known.or_else(|| addr::from_python(address, version)) {
        Some(address) => Destination::Internet(address),
        None => Destination::Python(address.clone().unbind()),
    }
}

/// Whether a datagram goes to the kernel now: the first of a callback does, as in asyncio; the following ones are
/// gathered.
#[inline]
fn goes_at_once(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<bool> {
    if state.writing.get() != Writing::Idle {
        return Ok(false);
    }
    let local = data(this).local(this.py())?;
    let callback = local.callback();
    Ok(state.wrote_in.replace(callback) != callback || !local.is_in_turn())
}

/// Sends the datagram at once, after all queued ones, if it is the first, large, mutable, or needs the Python socket;
/// copies it if the kernel is full.
fn send_now_or_copy(
    this: &Bound<'_, Datagrams>,
    state: &State,
    bytes: &Bound<'_, PyAny>,
    to: Destination,
) -> PyResult<()> {
    let py = this.py();
    let mut place = Place::default();
    let view = match View::readable(bytes, &mut place) {
        Ok(view) => view,
        Err(error) => return fail(this, WRITE_ERROR, error),
    };
    if let Destination::Python(address) = &to {
        settle(this, state)?;
        if state.queue.borrow().is_empty() {
            return match by_python(state, bytes, address.bind(py)) {
                Ok(()) => Ok(()),
                Err(error) if is_full(py, &error) => {
                    queue(this, state, make::bytes(py, view.bytes())?, to)?;
                    flush(this, state)
                }
                Err(error) => refused(this, state, error),
            };
        }
    } else {
        settle(this, state)?;
        if state.queue.borrow().is_empty() {
            let outcome = match &to {
                Destination::Internet(address) => {
                    datagram::send(state.life.fd, view.bytes(), Some(address))
                }
                _ => datagram::send(state.life.fd, view.bytes(), None),
            };
            match outcome {
                Ok(()) => {
                    state.life.meters.bytes_out.add_size(view.len());
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    queue(this, state, make::bytes(py, view.bytes())?, to)?;
                    return flush(this, state);
                }
                Err(error) => return refused(this, state, os_error(error)),
            }
        }
    }
    queue(this, state, make::bytes(py, view.bytes())?, to)?;
    schedule(this, state)
}

/// Queues a datagram. On `MemoryError` the queue is unchanged.
fn queue(
    this: &Bound<'_, Datagrams>,
    state: &State,
    bytes: Bound<'_, PyBytes>,
    to: Destination,
) -> PyResult<()> {
    let datagram = Outgoing {
        data: bytes.unbind(),
        to,
    };
    disown(state);
    state.queue.borrow_mut().push(this.py(), datagram)
}

/// The caller's datagram was not sent: calls `error_received` at once.
fn refused(this: &Bound<'_, Datagrams>, state: &State, error: PyErr) -> PyResult<()> {
    let py = this.py();
    if !is_os_error(py, &error) {
        return fail(this, WRITE_ERROR, error);
    }
    let Some(protocol) = state.life.protocol(py) else {
        return Ok(());
    };
    let error = protocol::traced(data(this).core().bind(py), error);
    let error = error.into_value(py).into_bound(py).into_any();
    call::method(&protocol, name!(py, "error_received"), [&error]).map(drop)
}

/// Decides when the queue is sent.
fn schedule(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    if state.writing.get() == Writing::Blocked {
        return grown(this, state);
    }
    // Above the high mark, send at once: the protocol must not be paused for datagrams that the kernel can take.
    if state.queue.borrow().size() > state.flow.high() {
        return flush(this, state);
    }
    if state.writing.get() == Writing::Idle {
        flush_later(this, state)?;
    }
    Ok(())
}

/// Sends the queue when the running callback returns, or now if none runs.
fn flush_later(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
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

/// Runs when the callback that sent has returned.
fn flush_queued(this: &Bound<'_, PyAny>) -> PyResult<()> {
    let this = cast::<Datagrams>(this)?;
    let state = data(this).state(this.py())?;
    if state.writing.get() != Writing::Queued {
        return Ok(());
    }
    if state.queue.borrow().is_empty() {
        state.writing.set(Writing::Idle);
        return Ok(());
    }
    flush(this, &state).or_else(|error| fail(this, WRITE_ERROR, error))
}

/// Before the program reads the buffer's state: sends what waits only for the end of the callback.
pub(super) fn settle(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let waits = state.writing.get() != Writing::Blocked && !state.queue.borrow().is_empty();
    if waits { flush(this, state) } else { Ok(()) }
}

/// In a forked child: drops the datagrams that its parent queued, which the parent sends.
fn disown(state: &State) {
    let inherited = state.queue.borrow_mut().inherited();
    drop(inherited);
}

/// Sends until the queue is empty or the kernel is full.
pub(super) fn flush(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    if state.life.phase.get() == Phase::Closed {
        return Ok(());
    }
    disown(state);
    state.writing.set(Writing::Idle);
    let blocked = match send_all(this, state) {
        Ok(blocked) => blocked,
        Err(error) => {
            // This exception ends the run; the rest is sent at the end of the pass.
            if !state.queue.borrow().is_empty() {
                flush_later(this, state)?;
            }
            return Err(error);
        }
    };
    state.writing.set(if blocked {
        Writing::Blocked
    } else {
        Writing::Idle
    });
    update_interest(this, state)?;
    if !blocked && state.direction.get() == Direction::Both && state.life.is_open() {
        register(this, state, Direction::Read)?;
    }
    shrunk(this, state)?;
    if blocked {
        grown(this, state)
    } else {
        emptied(this, state)
    }
}

/// `true` when the kernel is full; the reactor then fires when there is room.
fn send_all(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<bool> {
    let py = this.py();
    while !state.queue.borrow().is_empty() {
        if state.queue.borrow().begins_with_python() {
            if send_first_by_python(this, state)? {
                return Ok(true);
            }
            continue;
        }
        let outcome = {
            let queue = state.queue.borrow();
            datagram::send_many(state.life.fd, queue.native(py))
        };
        match outcome {
            Ok(count) => {
                for _ in 0..count {
                    let sent = state.queue.borrow_mut().pop(py);
                    let size = sent.map_or(0, |sent| sent.data.bind(py).as_bytes().len());
                    state.life.meters.bytes_out.add_size(size);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                block(this, state)?;
                return Ok(true);
            }
            Err(error) => {
                drop(state.queue.borrow_mut().pop(py));
                told(this, state, error)?;
            }
        }
    }
    Ok(false)
}

/// Calls `error_received` for an error of an earlier datagram, or of none; the endpoint stays open.
fn told(this: &Bound<'_, Datagrams>, state: &State, error: io::Error) -> PyResult<()> {
    let py = this.py();
    let error = os_error(error).into_value(py).into_bound(py).into_any();
    call_protocol(this, &state.life, name!(py, "error_received"), [&error])
}

/// Sends the first datagram through the Python socket; `true` when the kernel is full.
fn send_first_by_python(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<bool> {
    let py = this.py();
    let Some(first) = state.queue.borrow_mut().pop(py) else {
        return Ok(false);
    };
    let sent = match &first.to {
        Destination::Python(address) => {
            by_python(state, first.data.bind(py).as_any(), address.bind(py))
        }
        Destination::Peer | Destination::Internet(_) => Ok(()),
    };
    match sent {
        Ok(()) => Ok(false),
        Err(error) if is_full(py, &error) => {
            state.queue.borrow_mut().push_front(py, first);
            block(this, state).map(|()| true)
        }
        Err(error) if is_os_error(py, &error) => {
            let error = error.into_value(py).into_bound(py).into_any();
            call_protocol(this, &state.life, name!(py, "error_received"), [&error])?;
            Ok(false)
        }
        Err(error) => {
            fail(this, WRITE_ERROR, error)?;
            Ok(false)
        }
    }
}

fn by_python(state: &State, bytes: &Bound<'_, PyAny>, address: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = bytes.py();
    let socket = state.descriptor.socket(py)?;
    let name = name!(py, "sendto");
    let sent = call::method(&socket, name, [bytes, address])?;
    let size = sent.extract().unwrap_or(0); // Another class of sockets may return anything.
    state.life.meters.bytes_out.add_size(size);
    Ok(())
}

/// Registers interest in room to write.
fn block(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let is_armed = || {
        let registration = state.life.registration.borrow();
        !registration.as_ref().is_none_or(Registration::filled)
    };
    if state.direction.get() == Direction::Read || !is_armed() {
        register(this, state, Direction::Both)?;
        // Clears old readiness; if there is room already, the next poll reports it.
        is_armed();
    }
    if state.kind == Kind::Unix && !state.is_connected {
        // The receiver's queue is full, and the kernel notifies only sockets connected to it: retry on a timer.
        let py = this.py();
        let again = this.as_any().getattr(name!(py, "_sendto_ready"))?;
        let call_later = name!(py, "call_later");
        data(this)
            .core()
            .bind(py)
            .call_method1(call_later, (RETRY_S, again))?;
    }
    Ok(())
}

/// The queue is empty: completes what waited for that.
fn emptied(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let is_empty = state.queue.borrow().is_empty(); // `resume_writing` may have sent more.
    if is_empty && state.life.phase.get() == Phase::Closing && state.conn_lost.get() == 0 {
        lose(this, state, None)?;
    }
    Ok(())
}

/// Calls `pause_writing` when the queue is above the high mark.
pub(super) fn grown(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let size = state.queue.borrow().size();
    state.flow.grown(this, &state.life, size)
}

/// Calls `resume_writing` when the queue is at or below the low mark.
fn shrunk(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let size = state.queue.borrow().size();
    state.flow.shrunk(this, &state.life, size)
}

/// Whether `error` means that the Python socket's call would block.
pub(super) fn is_full(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

pub(super) fn is_os_error(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyOSError>(py)
}

const WRITE_ERROR: &str = "Fatal write error on datagram transport";
/// Larger datagrams are sent individually: saving one call would not matter, and their errors are reported at once.
const AT_ONCE: usize = 4096;
/// asyncio ignores empty datagrams before Python 3.13.
const SENDS_EMPTY: bool = cfg!(Py_3_13);
/// Pause before a retry where the kernel does not notify about room; asyncio retries without a pause.
const RETRY_S: f64 = 0.001;
