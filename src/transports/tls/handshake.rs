//! How a TLS connection begins.

use pyo3::exceptions::{PyConnectionAbortedError, PyException, PyMemoryError};
use pyo3::prelude::*;

use super::read;
use super::session::{is_certificate_error, is_tls_error};
use super::state::{FAILED, Tls, TlsPhase, TlsState, Told, caught, fatal, start_timer, stop_timer};
use super::write;
use crate::ffi::{call, data, name};
use crate::transports::lifecycle::{Transport, cast};
use crate::transports::logger::log;
use crate::transports::stream::{self, Stream};

/// `connection_made` of the stream: starts the handshake.
pub(crate) fn begin(this: &Bound<'_, Tls>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let tls = data(this);
    let state = tls.state(py)?;
    let stream = cast::<Stream>(stream)?;
    let below = data(stream).state(py)?;
    below.set_decoder(read::decode);
    if state.told.get() == Told::Nothing {
        below.life.traffic.begin_handshake(); // Of a connection that begins with it.
    }
    drop(below);
    state.set_stream(Some(stream));
    let core = tls.core.bind(py);
    if core.get().is_debug() {
        log(
            py,
            "debug",
            ("%r starts SSL handshake", this.as_any()),
            None,
        )?;
        let now = core.call_method0(name!(py, "time"))?;
        state.started.set(now.extract()?);
    }
    state.phase.set(TlsPhase::Handshake);
    let name = name!(py, "_check_handshake_timeout");
    let started = start_timer(this, &state, tls.timeouts.handshake.bind(py), name);
    match started.and_then(|()| proceed(this, &state)) {
        // Unlike asyncio, which leaves the waiter of the handshake pending forever.
        Err(error) if error.is_instance_of::<PyException>(py) => fail(this, &state, error),
        result => result,
    }
}

/// Continues the handshake as far as the received bytes allow.
pub(crate) fn proceed(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    let shaken = state.session.shake_hands(py).and_then(|done| {
        if done.is_none() {
            write::send_outgoing(this, state)?;
        }
        Ok(done)
    });
    match shaken {
        Ok(None) => {
            // Send at once: computing this flight took long, and the peer will need as long for its own.
            match state.stream(py) {
                Some(stream) => stream::flush::settle(&stream, &*data(&stream).state(py)?),
                None => Ok(()),
            }
        }
        Ok(Some(())) => complete(this, state),
        // Without memory for a flight, the peer would wait for it.
        Err(error) if error.is_instance_of::<PyMemoryError>(py) || is_tls_error(py, &error)? => {
            fail(this, state, error)
        }
        Err(error) => Err(error),
    }
}

fn complete(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    let tls = data(this);
    stop_timer(py, state)?;
    state.phase.set(TlsPhase::Wrapped);
    if let Some(stream) = state.stream(py) {
        data(&stream).state(py)?.life.traffic.end_handshake();
    }
    let object = &state.session.object(py);
    let certificate = match object.call_method0(name!(py, "getpeercert")) {
        Ok(certificate) => certificate,
        Err(error) if error.is_instance_of::<PyException>(py) => return fail(this, state, error),
        Err(error) => return Err(error),
    };
    if tls.core.get().is_debug() {
        let now: f64 = tls
            .core
            .bind(py)
            .call_method0(name!(py, "time"))?
            .extract()?;
        let milliseconds = (now - state.started.get()) * 1e3;
        let text = "%r: SSL handshake took %.1f ms";
        log(py, "debug", (text, this.as_any(), milliseconds), None)?;
    }
    let extra = tls.extra.bind(py);
    extra.set_item(name!(py, "peercert"), certificate)?;
    for name in [name!(py, "cipher"), name!(py, "compression")] {
        extra.set_item(name, object.call_method0(name)?)?;
    }
    extra.set_item(name!(py, "ssl_object"), object)?;
    let is_upgrade = state.told.get() != Told::Nothing;
    if !is_upgrade {
        state.told.set(Told::Made);
        if let Some(protocol) = state.protocol(py) {
            call::method(&protocol, name!(py, "connection_made"), [this.as_any()])?;
        }
    }
    wake_waiter(py, state, None)?;
    // Send the last flight of the handshake even if the application has paused reading.
    let sent = write::send_outgoing(this, state);
    caught(this, state, FAILED, sent)?;
    answer_is_due(this, state)?;
    if is_upgrade {
        // After the waiter: `start_tls()` hands the transport over, and the protocol must have it before its first
        // bytes.
        return read::later(this);
    }
    read::read(this, state)
}

/// The peer's first bytes may have come with its last flight. They must be answered, although ours is sent later.
fn answer_is_due(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    if let Some(stream) = state.stream(py)
        && state.session.has_input(py)?
    {
        let below = data(&stream).state(py)?;
        stream::flush::settle(&stream, &below)?;
        below.life.traffic.note_in();
    }
    Ok(())
}

/// Fails the connection: the handshake failed, or the stream ended during it.
pub(crate) fn fail(this: &Bound<'_, Tls>, state: &TlsState, error: PyErr) -> PyResult<()> {
    let py = this.py();
    stop_timer(py, state)?;
    state.phase.set(TlsPhase::Unwrapped);
    let message = if is_certificate_error(py, &error)? {
        "SSL handshake failed on verifying the certificate"
    } else {
        "SSL handshake failed"
    };
    let raised = error.value(py).as_any().clone();
    let told = fatal(this, state, message, error);
    told.and(wake_waiter(py, state, Some(&raised)))
}

/// Timer callback: aborts if the handshake is unfinished.
pub(crate) fn check_handshake_timeout(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if state.phase.get() != TlsPhase::Handshake {
        return Ok(());
    }
    let seconds = data(this).timeouts.handshake.bind(this.py()).str()?;
    let error = PyConnectionAbortedError::new_err(format!(
        "SSL handshake is taking longer than {seconds} seconds: aborting the connection"
    ));
    fatal(this, state, "Fatal error on transport", error)
}

/// Completes the waiter of the handshake with its result, and with whether there is still a connection.
pub(crate) fn wake_waiter(
    py: Python<'_>,
    state: &TlsState,
    error: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let Some(waiter) = state.waiter.take() else {
        return Ok(());
    };
    let waiter = waiter.into_bound(py);
    if waiter.call_method0(name!(py, "cancelled"))?.is_truthy()? {
        return Ok(());
    }
    match error {
        Some(error) => waiter.call_method1(name!(py, "set_exception"), (error,)),
        None => waiter.call_method1(name!(py, "set_result"), (state.stream(py).is_some(),)),
    }
    .map(drop)
}
