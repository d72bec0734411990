//! From ciphertext to the application's protocol.

use std::io;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::handshake::{self, tell_end};
use super::session::{Data, Reading, Taken, Then};
use super::state::{FAILED, Phase, State, Tls, cast, caught, fatal};
use super::write;
use crate::ffi::context::{copy_current, run_in};
use crate::ffi::{Entered, call, data, make, name};
use crate::scheduler::{Deferred, is_exit};
use crate::sys::buffer::ReadBuffer;
use crate::transports::lifecycle::Transport;
use crate::transports::protocol::Delivery;
use crate::transports::stream::{self, Decoder};
use crate::transports::stream_reader::Reader;

/// What the stream receives, on its way into the session.
pub(crate) struct Intake<'a, 'py> {
    this: &'a Bound<'py, Tls>,
    state: Entered<'a, State>,
    /// The application wants bytes, now: most of the time.
    is_direct: bool,
    reader: Option<Reader<'py>>,
}

impl<'a, 'py> Intake<'a, 'py> {
    pub(crate) fn of(this: &'a Bound<'py, Tls>) -> PyResult<Self> {
        let state = data(this).state(this.py())?;
        let is_direct = state.phase.get() == Phase::Wrapped
            && !state.reading_paused.get()
            && state.delivery.get() != Delivery::Buffer;
        let reader = if is_direct {
            reader(this.py(), &state)?
        } else {
            None
        };
        Ok(Self {
            this,
            state,
            is_direct,
            reader,
        })
    }

    /// Takes `ciphertext` out of the socket's buffer.
    pub(crate) fn take(&self, ciphertext: &[u8]) -> PyResult<Taken<'py>> {
        let (session, reader) = (&self.state.session, self.reader.as_ref());
        session.take(self.this.py(), ciphertext, self.is_direct, reader)
    }

    /// Does what there is to do with it.
    pub(crate) fn received(&self, taken: Taken<'py>) -> PyResult<()> {
        let (this, state) = (self.this, &*self.state);
        let reader = self.reader.as_ref();
        let Some(reading) = state.session.go_on(taken, self.is_direct, reader)? else {
            return go_on(this, state);
        };
        let result = hand_over(this, state, reader, reading).and_then(|()| settle(this, state));
        caught(this, state, FAILED, result)
    }
}

/// Decrypts what a stream receives.
#[derive(Debug)]
pub(super) struct RecordDecoder;

impl Decoder for RecordDecoder {
    fn read(
        &self,
        protocol: &Bound<'_, PyAny>,
        receive: &mut dyn FnMut(&mut ReadBuffer<'_>) -> io::Result<usize>,
    ) -> PyResult<io::Result<PyResult<()>>> {
        let this = cast(protocol)?;
        let intake = Intake::of(this)?;
        let local = data(this).core.get().local(this.py())?;
        let outcome = local.with_read_buffer(|buffer| {
            let count = receive(buffer)?;
            Ok((count > 0).then(|| intake.take(buffer.filled())))
        })?;
        Ok(outcome.map(|taken| match taken {
            Some(taken) => taken.and_then(|taken| intake.received(taken)),
            None => Ok(()),
        }))
    }
}

/// Does what there is to do with what has come.
fn go_on(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    match state.phase.get() {
        Phase::Wrapped => read(this, state),
        Phase::Handshake => handshake::proceed(this, state),
        Phase::Flushing => handshake::flush(this, state),
        Phase::Shutdown => handshake::shut_down(this, state),
        Phase::Unwrapped => Ok(()),
    }
}

/// Delivers whole records, sends what that brought about, and keeps the stream from reading ahead too far.
pub(crate) fn read(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    if !matches!(state.phase.get(), Phase::Wrapped | Phase::Flushing) {
        return Ok(());
    }
    let result = if state.reading_paused.get() {
        control_stream(this, state)
    } else {
        state.session.has_input(this.py()).and_then(|has_input| {
            if has_input {
                deliver(this, state)
            } else {
                send(this, state).and_then(|()| control_stream(this, state))
            }
        })
    };
    caught(this, state, FAILED, result)
}

fn deliver(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    match state.delivery.get() {
        Delivery::Buffer => into_buffer(this, state)?,
        Delivery::Bytes | Delivery::Reader => as_bytes(this, state)?,
    }
    settle(this, state)
}

/// After reading: sends what that brought about, and keeps the stream from reading ahead too far.
fn settle(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    send(this, state)?;
    control_stream(this, state)
}

/// What the session has to say of its own accord, and what had to wait for it.
fn send(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    if state.backlog_size.get() > 0 {
        write::write_backlog(this, state)
    } else {
        write::send_outgoing(this, state)
    }
}

/// All that came, in one call.
fn as_bytes(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    let reader = reader(this.py(), state)?;
    let reading = state.session.read(this.py(), reader.as_ref())?;
    hand_over(this, state, reader.as_ref(), reading)
}

/// asyncio's own reader, where the protocol has one that may be fed natively.
fn reader<'py>(py: Python<'py>, state: &State) -> PyResult<Option<Reader<'py>>> {
    match state.protocol(py) {
        Some(protocol) if state.delivery.get() == Delivery::Reader => Reader::of(&protocol),
        _ => Ok(None),
    }
}

fn hand_over(
    this: &Bound<'_, Tls>,
    state: &State,
    reader: Option<&Reader<'_>>,
    reading: Reading<'_>,
) -> PyResult<()> {
    let py = this.py();
    if reading.then == Then::Failure {
        state.session.failure(py)?;
    }
    match reading.data {
        Data::Nothing => {}
        Data::Fed => {
            if let Some(reader) = reader
                && reader.fed()?
            {
                state.reading_paused.set(true);
                reader.set_paused()?;
            }
        }
        Data::Bytes(plaintext) => {
            if let Some(protocol) = state.protocol(py) {
                let name = name!(py, "data_received");
                call::method(&protocol, name, [plaintext.as_any()])?;
            }
        }
    }
    match reading.then {
        Then::Wait | Then::Failure => Ok(()),
        // In a coming pass, as in asyncio.
        Then::More => later(this),
        Then::End => end(this, state),
    }
}

/// The peer has said goodbye.
fn end(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    tell_end(this, state)?;
    handshake::start_shutdown(this, state)
}

/// Straight into the application's own buffer.
fn into_buffer(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    let py = this.py();
    let session = &state.session;
    let Some(protocol) = state.protocol(py) else {
        return Ok(());
    };
    let hint = make::int(py, session.incoming_size(py)?)?;
    let buffer = call::method(&protocol, name!(py, "get_buffer"), [hint.as_any()])?;
    let (filled, then) = session.read_into(&buffer)?;
    if then == Then::Failure {
        session.failure(py)?;
    }
    if then == Then::More {
        // In a coming pass, as in asyncio.
        later(this)?;
    }
    if filled > 0 {
        let count = make::int(py, filled)?;
        let name = name!(py, "buffer_updated");
        call::method(&protocol, name, [count.as_any()])?;
    }
    if then == Then::End {
        end(this, state)?;
    }
    Ok(())
}

/// Holds the stream back while the application does not read as much as comes.
pub(crate) fn control_stream(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    let paused = state.stream_paused.get();
    if !paused && !state.reading_paused.get() && state.delivery.get() != Delivery::Buffer {
        return Ok(()); // All that came was read.
    }
    let py = this.py();
    let size = state.session.incoming_size(py)?;
    let limits = state.read_limits.get();
    let pause = size >= limits.high && !paused;
    let resume = paused && size <= limits.low;
    if !pause && !resume {
        return Ok(());
    }
    let Some(stream) = state.stream(py) else {
        return Ok(());
    };
    state.stream_paused.set(pause);
    let below = data(&stream).state(py)?;
    if pause {
        stream::state::pause_reading(&stream, &below)
    } else {
        stream::state::resume_reading(&stream, &below)
    }
}

/// The application reads again: in a coming pass, as in asyncio.
pub(crate) fn resume(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    if state.reading_paused.replace(false) {
        later(this)
    } else {
        Ok(())
    }
}

/// Has what has come looked at in a coming pass, in the caller's context.
pub(crate) fn later(this: &Bound<'_, Tls>) -> PyResult<()> {
    let py = this.py();
    data(this).core.get().local(py)?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: Some(copy_current(py)?.unbind()),
        run: |this, context| {
            let this = cast(this)?;
            let state = data(this).state(this.py())?;
            let context = context.ok_or_else(|| PyTypeError::new_err("a context is required"))?;
            let result = run_in(&context, |_| match state.phase.get() {
                Phase::Handshake => Ok(()),
                _ => go_on(this, &state),
            });
            match result {
                Err(error) if !is_exit(this.py(), &error) => fatal(this, &state, FAILED, error),
                result => result,
            }
        },
    });
    Ok(())
}
