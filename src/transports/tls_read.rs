//! From ciphertext to the application's protocol.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use super::protocol::Delivery;
use super::reader::Reader;
use super::stream_methods;
use super::tls::{Phase, State, Tls, cast, caught, fatal};
use super::tls_handshake::{self, tell_end};
use super::tls_session::Session;
use super::tls_write;
use crate::ffi::context::{copy_current, run_in};
use crate::ffi::{bytes, call, data};
use crate::scheduler::{Deferred, is_exit};

/// The stream has received `ciphertext`.
pub(super) fn received(this: &Bound<'_, Tls>, ciphertext: &Bound<'_, PyAny>) -> PyResult<()> {
    let state = data(this).state(this.py())?;
    state.session.feed(ciphertext)?;
    if state.phase.get() == Phase::Wrapped && !state.reading_paused.get() {
        // Most of the time: no need to ask whether there is anything to read.
        let result = deliver(this, &state);
        return caught(this, &state, FAILED, result);
    }
    go_on(this, &state)
}

/// Does what there is to do with what has come.
fn go_on(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    match state.phase.get() {
        Phase::Wrapped => read(this, state),
        Phase::Handshake => tls_handshake::proceed(this, state),
        Phase::Flushing => tls_handshake::flush(this, state),
        Phase::Shutdown => tls_handshake::shut_down(this, state),
        Phase::Unwrapped => Ok(()),
    }
}

/// Delivers whole records, sends what that brought about, and keeps the stream from reading ahead too far.
pub(super) fn read(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    if !matches!(state.phase.get(), Phase::Wrapped | Phase::Flushing) {
        return Ok(());
    }
    let result = if state.reading_paused.get() {
        control_stream(this, state)
    } else {
        has_input(this.py(), &state.session).and_then(|has_input| {
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
    send(this, state)?;
    control_stream(this, state)
}

/// What the session has to say of its own accord, and what had to wait for it.
fn send(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    if state.backlog_size.get() > 0 {
        tls_write::write_backlog(this, state)
    } else {
        tls_write::send_outgoing(this, state)
    }
}

/// Whether reading can find anything: to find nothing costs an exception.
fn has_input(py: Python<'_>, session: &Session) -> PyResult<bool> {
    Ok(session.incoming_size(py)? > 0 || session.unread(py)? > 0)
}

/// All that came, in one call.
fn as_bytes(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    let py = this.py();
    let session = &state.session;
    let mut records = Records::default();
    let mut at_end = false;
    let mut room = if state.partial.replace(false) {
        RECORD
    } else {
        session.incoming_size(py)?.clamp(1, RECORD)
    };
    loop {
        let Some(record) = session.read(py, room)? else {
            state.partial.set(true);
            break;
        };
        let count = record.as_bytes().len();
        if count == 0 {
            at_end = true;
            break;
        }
        records.push(record);
        // Less than there was room for: the record is at its end.
        let unread = if count < room { 0 } else { session.unread(py)? };
        let left = if unread > 0 {
            unread
        } else {
            session.incoming_size(py)?
        };
        if left == 0 {
            break;
        }
        room = left.min(RECORD);
    }
    hand_over(this, state, records)?;
    if at_end {
        tell_end(this, state)?;
        tls_handshake::start_shutdown(this, state)?;
    }
    Ok(())
}

fn hand_over(this: &Bound<'_, Tls>, state: &State, records: Records<'_>) -> PyResult<()> {
    let py = this.py();
    let Some(protocol) = state.protocol(py).filter(|_| !records.is_empty()) else {
        return Ok(());
    };
    let reader = match state.delivery.get() {
        Delivery::Reader => Reader::of(&protocol)?,
        Delivery::Bytes | Delivery::Buffer => None,
    };
    if let Some(reader) = reader {
        match records.append_to(&reader) {
            Ok(()) => {
                if reader.fed()? {
                    state.reading_paused.set(true);
                    reader.set_paused()?;
                }
                return Ok(());
            }
            // A `memoryview` pins the reader's buffer: the ordinary way raises what asyncio raises.
            Err(error) if bytes::is_pinned(py, &error) => {}
            Err(error) => return Err(error),
        }
    }
    let plaintext = records.join(py)?;
    let name = intern!(py, "data_received");
    call::method(&protocol, name, [plaintext.as_any()]).map(drop)
}

/// Straight into the application's own buffer.
fn into_buffer(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    let py = this.py();
    let session = &state.session;
    let Some(protocol) = state.protocol(py) else {
        return Ok(());
    };
    let hint = session.incoming_size(py)?.into_pyobject(py)?;
    let buffer = call::method(&protocol, intern!(py, "get_buffer"), [hint.as_any()])?;
    let room = buffer.len()?;
    let mut filled = 0;
    let mut at_end = false;
    let mut target = buffer.clone();
    loop {
        match session.read_into(room - filled, &target)? {
            None => break,
            Some(0) => {
                at_end = true;
                break;
            }
            Some(count) => filled += count,
        }
        if filled >= room {
            // There may be more: in a coming pass, as in asyncio.
            later(this)?;
            break;
        }
        if !has_input(py, session)? {
            break;
        }
        // By a view: a slice of a `bytearray` would be a copy.
        let view = call::method(
            PyMemoryView::from(&buffer)?.as_any(),
            intern!(py, "cast"),
            [intern!(py, "B").as_any()],
        )?;
        let rest = PySlice::new(py, filled.cast_signed(), room.cast_signed(), 1);
        target = view.get_item(rest)?;
    }
    drop(target);
    if filled > 0 {
        let count = filled.into_pyobject(py)?;
        let name = intern!(py, "buffer_updated");
        call::method(&protocol, name, [count.as_any()])?;
    }
    if at_end {
        tell_end(this, state)?;
        tls_handshake::start_shutdown(this, state)?;
    }
    Ok(())
}

/// Holds the stream back while the application does not read as much as comes.
pub(super) fn control_stream(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
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
        stream_methods::pause_reading(&stream, &below)
    } else {
        stream_methods::resume_reading(&stream, &below)
    }
}

/// The application reads again: in a coming pass, as in asyncio.
pub(super) fn resume(this: &Bound<'_, Tls>, state: &State) -> PyResult<()> {
    if state.reading_paused.replace(false) {
        later(this)
    } else {
        Ok(())
    }
}

/// Has what has come looked at in a coming pass, in the caller's context.
fn later(this: &Bound<'_, Tls>) -> PyResult<()> {
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

/// What one reading found: nearly always a single record, delivered as it is.
#[derive(Default)]
struct Records<'py> {
    first: Option<Bound<'py, PyBytes>>,
    more: Vec<Bound<'py, PyBytes>>,
}

impl<'py> Records<'py> {
    fn push(&mut self, record: Bound<'py, PyBytes>) {
        if self.first.is_none() {
            self.first = Some(record);
        } else {
            self.more.push(record);
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.first
            .iter()
            .chain(&self.more)
            .map(PyBytesMethods::as_bytes)
    }

    fn append_to(&self, reader: &Reader<'_>) -> PyResult<()> {
        self.slices()
            .try_for_each(|record| bytes::extend(reader.buffer(), record))
    }

    fn join(self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        if self.more.is_empty()
            && let Some(first) = self.first
        {
            return Ok(first);
        }
        let records: Vec<_> = self.slices().collect();
        bytes::joined(py, &records)
    }
}

/// asyncio's words for what the application's protocol or the session raised.
pub(super) const FAILED: &str = "Fatal error on SSL protocol";
/// asyncio's words for what got past those: its TLS protocol is a `BufferedProtocol`.
pub(super) const RAISED: &str = "Fatal error: protocol.buffer_updated() call failed.";
/// What one record can carry.
const RECORD: usize = 16 * 1024;
