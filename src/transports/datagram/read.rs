//! From a readable socket to the protocol.
//!
//! One call receives several datagrams. The program cannot observe that: each is delivered as if it had been received
//! in a turn of its own, unless nothing else would have run in between.

use std::io::{self, ErrorKind};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::super::lifecycle::{Reading, Transport, call_protocol, fail};
use super::super::protocol;
use super::state::{Datagrams, Incoming, Kind, Sender, State};
use super::{peers, write};
use crate::addr;
use crate::driver::is_inherited;
use crate::errors::os_error;
use crate::ffi::{data, make, name};
use crate::scheduler::{READ_SIZE, is_exit};
use crate::sys::datagram::{self, MOST};

/// The result of one receive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// As many datagrams as requested, or an error: there may be more.
    More,
    /// The socket is empty.
    All,
}

/// Delivers until the socket is empty or the turn's share is used up.
pub(super) fn on_readable(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    let mut found = Found::More;
    let mut received = 0;
    loop {
        if !deliver(this, state, found)? {
            return Ok(());
        }
        let is_over = found == Found::All || is_inherited(&state.life.registration);
        if state.reading.get() != Reading::On || is_over {
            return Ok(());
        }
        if received >= MAX_DATAGRAMS {
            // Yields to the other sources; the next pass continues.
            state.life.fire_read();
            return Ok(());
        }
        found = match state.kind {
            Kind::Internet(_) => receive_many(this, state),
            Kind::Unix => receive_one(this, state),
            Kind::Other => receive_by_python(this, state),
        }?;
        received += state.arrived.borrow().len();
        match found {
            Found::All => state.batch.set(next_batch(received)),
            Found::More => debug_assert!(received > 0),
        }
    }
}

/// How many datagrams to request after a wake-up that brought `received`: one more, so that the same call also finds
/// the socket empty. A single expected datagram takes the shorter path.
fn next_batch(received: usize) -> usize {
    match received {
        0 | 1 => 1,
        more => (more + 1).next_power_of_two().min(MOST),
    }
}

/// Delivers what has arrived; `false` when the rest waits for a later turn or for `resume_reading`.
fn deliver(this: &Bound<'_, Datagrams>, state: &State, found: Found) -> PyResult<bool> {
    let py = this.py();
    let core = data(this).core().bind(py);
    let local = core.get().local(py)?;
    let scheduled = local.ready_count();
    loop {
        if state.reading.get() != Reading::On {
            return Ok(false);
        }
        let Some((received, sender)) = state.arrived.borrow_mut().pop_front() else {
            return Ok(true);
        };
        let sender = match sender {
            Sender::Internet(address) => peers::object(py, &state.peers, &address)?,
            Sender::Other(object) => object.into_bound(py),
        };
        let received = received.into_bound(py);
        let name = name!(py, "datagram_received");
        call_protocol(this, &state.life, name, [received.as_any(), &sender])?;
        local.callback_over(core)?;
        // What this datagram scheduled runs before the next is delivered, as if that were still in the kernel.
        if local.ready_count() > scheduled || core.get().is_stopping() {
            if found == Found::More || !state.arrived.borrow().is_empty() {
                state.life.fire_read();
            }
            return Ok(false);
        }
    }
}

/// Receives datagrams of an internet socket, several in one call.
fn receive_many(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<Found> {
    let py = this.py();
    let wanted = state.batch.get();
    let mut kept = Ok(());
    let outcome = data(this).local(py)?.with_datagram_buffer(|buffer| {
        let mut arrived = state.arrived.borrow_mut();
        datagram::receive_many(state.life.fd, buffer, wanted, |bytes, name| {
            // Other addresses are ignored: the kernel gives only internet addresses for an internet socket.
            state.life.meters.bytes_in.add_size(bytes.len());
            if let Some(address) = name.internet() {
                let keep = make::bytes(py, bytes).and_then(|bytes| {
                    arrived.try_reserve(1).map_err(make::no_memory)?;
                    arrived.push_back((bytes.unbind(), Sender::Internet(address)));
                    Ok(())
                });
                if let Err(error) = keep {
                    kept = Err(error);
                }
            }
        })
    })?;
    if let Err(error) = kept {
        // As when Python's own socket cannot allocate memory for a datagram.
        fail(this, READ_ERROR, error)?;
        return Ok(Found::All);
    }
    match outcome {
        Ok(count) => {
            state.failures.set(0);
            if count == wanted {
                state.batch.set((wanted * 2).min(MOST));
                return Ok(Found::More);
            }
            Ok(drained(state))
        }
        Err(error) => failed(this, state, error),
    }
}

/// Receives one datagram of any size.
fn receive_one(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<Found> {
    let py = this.py();
    let outcome = data(this).local(py)?.with_read_buffer(|buffer| {
        let name = datagram::receive(state.life.fd, buffer)?;
        let bytes = buffer.filled();
        state.life.meters.bytes_in.add_size(bytes.len());
        Ok((make::bytes(py, bytes), name))
    })?;
    match outcome {
        Ok((bytes, name)) => {
            let sender = match name.unix() {
                // Python's sockets return `None` for an unknown address.
                None => py.None(),
                Some(path) => addr::path_to_python(py, path)?.unbind(),
            };
            match bytes {
                Ok(bytes) => arrived(state, (bytes.unbind(), Sender::Other(sender)))?,
                Err(error) => {
                    fail(this, READ_ERROR, error)?;
                    return Ok(Found::All);
                }
            }
            Ok(Found::More)
        }
        Err(error) => failed(this, state, error),
    }
}

/// Receives one datagram of a socket whose addresses only Python can convert.
fn receive_by_python(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<Found> {
    let py = this.py();
    let socket = state.descriptor.socket(py)?;
    let outcome = socket
        .call_method1(name!(py, "recvfrom"), (make::int(py, READ_SIZE)?,))
        .and_then(|pair| {
            let pair = pair.cast_into::<PyTuple>()?;
            let bytes = pair.get_item(0)?.cast_into::<PyBytes>()?;
            Ok((bytes.unbind(), pair.get_item(1)?.unbind()))
        });
    match outcome {
        Ok((bytes, sender)) => {
            let count = bytes.bind(py).as_bytes().len();
            state.life.meters.bytes_in.add_size(count);
            arrived(state, (bytes, Sender::Other(sender)))?;
            Ok(Found::More)
        }
        Err(error) if write::is_full(py, &error) => Ok(drained(state)),
        Err(error) if write::is_os_error(py, &error) => error_received(this, state, error),
        Err(error) if is_exit(py, &error) => Err(error),
        Err(error) => {
            fail(this, READ_ERROR, error)?;
            Ok(Found::All)
        }
    }
}

fn arrived(state: &State, datagram: Incoming) -> PyResult<()> {
    state.failures.set(0);
    let mut arrived = state.arrived.borrow_mut();
    arrived.try_reserve(1).map_err(make::no_memory)?;
    arrived.push_back(datagram);
    Ok(())
}

fn failed(this: &Bound<'_, Datagrams>, state: &State, error: io::Error) -> PyResult<Found> {
    if error.kind() == ErrorKind::WouldBlock {
        Ok(drained(state))
    } else {
        error_received(this, state, os_error(error))
    }
}

/// Calls `error_received`: the error belongs to a datagram sent earlier, so the endpoint stays open.
fn error_received(this: &Bound<'_, Datagrams>, state: &State, error: PyErr) -> PyResult<Found> {
    let py = this.py();
    let failures = state.failures.get() + 1;
    state.failures.set(failures);
    let error = protocol::traced(data(this).core().bind(py), error);
    let error = error.into_value(py).into_bound(py).into_any();
    call_protocol(this, &state.life, name!(py, "error_received"), [&error])?;
    if failures < MAX_FAILURES {
        // The callbacks that `error_received` scheduled run first; then there may be more errors or datagrams.
        state.life.fire_read();
    } else {
        drained(state);
    }
    Ok(Found::All)
}

/// The socket is empty; the reactor fires when it becomes readable.
fn drained(state: &State) -> Found {
    state.failures.set(0);
    if let Some(registration) = &*state.life.registration.borrow()
        && registration.drained()
    {
        registration.fire_read();
    }
    Found::All
}

const READ_ERROR: &str = "Fatal read error on datagram transport";
/// Datagrams per turn, so that a peer that never stops sending does not starve the other sources.
const MAX_DATAGRAMS: usize = 64;
/// Consecutive errors after which reading waits for the reactor, so that a broken socket does not keep the loop busy.
const MAX_FAILURES: usize = 16;
