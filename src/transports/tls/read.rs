//! The read path: from received ciphertext to the application's protocol.

use std::io;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::handshake;
use super::session::{Plaintext, decrypt_wire};
use super::shutdown::{self, tell_end};
use super::state::{FAILED, Tls, TlsPhase, TlsState, cast, caught, fatal};
use super::write;
use crate::ffi::context::{copy_current, run_in};
use crate::ffi::wire::{Ending, Wire};
use crate::ffi::{call, data, make, name};
use crate::scheduler::tracer::Kind;
use crate::scheduler::{Deferred, is_exit};
use crate::sys::buffer::ReadBuffer;
use crate::transports::lifecycle::Transport;
use crate::transports::protocol::Delivery;
use crate::transports::stream;
use crate::transports::stream_reader::{self, Reader, Target};

/// The decoder that a handshake installs on the stream.
pub(super) fn decode(
    protocol: &Bound<'_, PyAny>,
    receive: &mut dyn FnMut(&mut ReadBuffer<'_>) -> io::Result<usize>,
) -> PyResult<io::Result<PyResult<()>>> {
    let this = cast(protocol)?;
    let state = data(this).state(this.py())?;
    let wants_bytes = state.phase.get() == TlsPhase::Wrapped
        && !state.reading_paused.get()
        && state.delivery.get() != Delivery::Buffer;
    if wants_bytes && let Some(wire) = state.session.quiet_wire(this.py()) {
        return decrypt_in_place(this, &state, &wire, receive);
    }
    feed_then_read(this, &state, receive)
}

/// Decrypts from the loop's read buffer, and only then calls the protocol, which may need that buffer too.
fn decrypt_in_place(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    wire: &Wire,
    receive: &mut dyn FnMut(&mut ReadBuffer<'_>) -> io::Result<usize>,
) -> PyResult<io::Result<PyResult<()>>> {
    let py = this.py();
    let target = target(this, state, Target::of)?; // Nothing changes the reader meanwhile: the wire is quiet.
    let local = data(this).core.get().local(py)?;
    let received = local.with_read_buffer(|buffer| {
        let count = receive(buffer)?;
        let reader = target.as_ref().and_then(Target::reader);
        Ok((count > 0).then(|| decrypt_wire(py, wire, buffer.filled(), reader)))
    })?;
    Ok(received.map(|decrypted| {
        let Some(decrypted) = decrypted.transpose()? else {
            return Ok(()); // The end of the stream.
        };
        let result = hand_over(this, state, target.as_ref(), decrypted)
            .and_then(|ending| go_on_later(this, ending))
            .and_then(|()| settle(this, state));
        caught(this, state, FAILED, result)
    }))
}

/// Feeds the session with received ciphertext, then does what its phase requires.
fn feed_then_read(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    receive: &mut dyn FnMut(&mut ReadBuffer<'_>) -> io::Result<usize>,
) -> PyResult<io::Result<PyResult<()>>> {
    let py = this.py();
    let local = data(this).core.get().local(py)?;
    let received = local.with_read_buffer(|buffer| {
        let count = receive(buffer)?;
        Ok((count > 0).then(|| state.session.keep(py, buffer.filled())))
    })?;
    Ok(received.map(|kept| {
        let Some(left) = kept.transpose()? else {
            return Ok(()); // The end of the stream.
        };
        if let Some(ciphertext) = left {
            state.session.feed(&ciphertext)?;
        }
        go_on(this, state)
    }))
}

/// Continues the handshake, the reading or the shutdown with the ciphertext that the session holds.
fn go_on(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    match state.phase.get() {
        TlsPhase::Wrapped => read(this, state),
        TlsPhase::Handshake => handshake::proceed(this, state),
        TlsPhase::Flushing => shutdown::flush(this, state),
        TlsPhase::Shutdown => shutdown::shut_down(this, state),
        TlsPhase::Unwrapped => Ok(()),
    }
}

/// Delivers all complete records, sends the session's replies, and pauses the stream if the application is too slow.
pub(crate) fn read(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if !matches!(state.phase.get(), TlsPhase::Wrapped | TlsPhase::Flushing) {
        return Ok(());
    }
    let result = if state.reading_paused.get() {
        control_stream(this, state)
    } else {
        deliver(this, state)
            .and_then(|ending| go_on_later(this, ending))
            .and_then(|()| settle(this, state))
    };
    caught(this, state, FAILED, result)
}

/// As [`read`], before the connection ends: no later turn comes for what did not fit in the first time.
pub(super) fn read_rest(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if state.phase.get() != TlsPhase::Flushing || state.reading_paused.get() {
        return read(this, state);
    }
    let result = loop {
        match deliver(this, state) {
            Ok(Ending::Full) if state.phase.get() == TlsPhase::Flushing => {}
            result => break result.and_then(|_| settle(this, state)),
        }
    };
    caught(this, state, FAILED, result)
}

/// Reads on in a later turn, as asyncio does, if there was more than fitted in.
fn go_on_later(this: &Bound<'_, Tls>, ending: Ending) -> PyResult<()> {
    if ending == Ending::Full {
        later(this)
    } else {
        Ok(())
    }
}

/// Delivers everything decrypted in one `data_received()`.
fn deliver(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<Ending> {
    let py = this.py();
    if !state.session.has_input(py)? {
        return Ok(Ending::Drained);
    }
    if state.delivery.get() == Delivery::Buffer {
        return into_buffer(this, state);
    }
    let target = target(this, state, |protocol| {
        Ok(Reader::of(protocol)?.map(Target::Buffer))
    })?;
    let reader = target.as_ref().and_then(Target::reader);
    let decrypted = state.session.decrypt(py, reader)?;
    hand_over(this, state, target.as_ref(), decrypted)
}

/// After reading: sends the session's replies, and pauses the stream if the application reads too slowly.
fn settle(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    send(this, state)?;
    control_stream(this, state)
}

/// Sends what the session produced by itself (key updates, alerts), and writes that waited for it.
fn send(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if state.backlog_size.get() > 0 {
        write::write_backlog(this, state)
    } else {
        write::send_outgoing(this, state)
    }
}

/// What `find` makes of the protocol's `StreamReader`, if it has one that may be fed natively.
fn target<'py>(
    this: &Bound<'py, Tls>,
    state: &TlsState,
    find: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Option<Target<'py>>>,
) -> PyResult<Option<Target<'py>>> {
    match state.protocol(this.py()) {
        Some(protocol) if state.delivery.get() == Delivery::Reader => find(&protocol),
        _ => Ok(None),
    }
}

fn hand_over<'py>(
    this: &Bound<'py, Tls>,
    state: &TlsState,
    target: Option<&Target<'py>>,
    (plaintext, ending): (Plaintext<'py>, Ending),
) -> PyResult<Ending> {
    let py = this.py();
    if ending == Ending::Failed {
        state.session.failure(py)?;
    }
    let is_data = !matches!(plaintext, Plaintext::Nothing);
    match (plaintext, target) {
        (Plaintext::Nothing, _) => {}
        (Plaintext::Fed, target) => {
            if let Some(reader) = target.and_then(Target::reader) {
                reader.fed()?;
            }
        }
        (Plaintext::Bytes(plaintext), Some(Target::Whole(taker))) => taker.take(&plaintext)?,
        (Plaintext::Bytes(plaintext), _) => {
            if let Some(protocol) = state.protocol(py) {
                let name = name!(py, "data_received");
                call::method(&protocol, name, [plaintext.as_any()])?;
            }
        }
    }
    // Not for the peer's goodbye.
    if is_data && state.delivery.get() == Delivery::Reader && state.uses.reads_again() {
        adopt(this, state)?;
    }
    if ending == Ending::Goodbye {
        end(this, state)?;
    }
    Ok(ending)
}

#[cold]
fn adopt(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    match state.protocol(py) {
        Some(protocol) => stream_reader::adopt(data(this).core.bind(py), &protocol),
        None => Ok(()),
    }
}

/// The peer has sent `close_notify`.
fn end(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    tell_end(this, state)?;
    shutdown::start_shutdown(this, state)
}

/// Decrypts into the buffer of a `BufferedProtocol`.
fn into_buffer(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<Ending> {
    let py = this.py();
    let session = &state.session;
    let Some(protocol) = state.protocol(py) else {
        return Ok(Ending::Drained);
    };
    let hint = make::int(py, session.incoming_size(py)?)?;
    let buffer = call::method(&protocol, name!(py, "get_buffer"), [hint.as_any()])?;
    let (filled, ending) = session.decrypt_into(&buffer)?;
    if ending == Ending::Failed {
        session.failure(py)?;
    }
    let reads_on = ending == Ending::Full && state.phase.get() == TlsPhase::Wrapped;
    if reads_on {
        // In a later turn, scheduled before the call, as in asyncio.
        later(this)?;
    }
    if filled > 0 {
        let count = make::int(py, filled)?;
        let name = name!(py, "buffer_updated");
        call::method(&protocol, name, [count.as_any()])?;
    }
    if ending == Ending::Goodbye {
        end(this, state)?;
    }
    Ok(if reads_on { Ending::Drained } else { ending })
}

/// Pauses the stream while more ciphertext is unread than the read limits allow; resumes it below them.
pub(crate) fn control_stream(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
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

/// The application has resumed reading: continues in a later turn, as asyncio does.
pub(crate) fn resume(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if state.reading_paused.replace(false) {
        later(this)
    } else {
        Ok(())
    }
}

/// Schedules reading of the ciphertext that the session holds, in a later turn and the caller's context.
pub(crate) fn later(this: &Bound<'_, Tls>) -> PyResult<()> {
    let py = this.py();
    data(this).core.get().local(py)?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: Some(copy_current(py)?.unbind()),
        step: Kind::DataReceived,
        run: |this, context| {
            let this = cast(this)?;
            let state = data(this).state(this.py())?;
            let context = context.ok_or_else(|| PyTypeError::new_err("a context is required"))?;
            let result = run_in(&context, |_| match state.phase.get() {
                TlsPhase::Handshake => Ok(()),
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
