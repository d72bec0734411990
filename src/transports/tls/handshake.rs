//! Handshake and shutdown of a TLS connection.

use pyo3::exceptions::{PyConnectionAbortedError, PyConnectionResetError, PyException};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use super::read;
use super::session::{is_certificate_error, is_goodbye, is_tls_error};
use super::state::{FAILED, Tls, TlsPhase, TlsState, Told, caught, end, fatal, forget_if_over};
use super::write;
use crate::ffi::wire::Ending;
use crate::ffi::{call, data, make, name};
use crate::scheduler::is_exit;
use crate::transports::lifecycle::{Transport, cast};
use crate::transports::logger::log;
use crate::transports::stream::{self, Stream};

/// `connection_made` of the stream: starts the handshake.
pub(crate) fn begin(this: &Bound<'_, Tls>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let tls = data(this);
    let state = tls.state(py)?;
    let stream = cast::<Stream>(stream)?;
    data(stream).state(py)?.set_decoder(&read::RecordDecoder);
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
    match state.session.shake_hands(py) {
        Ok(None) => {
            write::send_outgoing(this, state)?;
            // Send at once: computing this flight took long, and the peer will need as long for its own.
            match state.stream(py) {
                Some(stream) => stream::flush::settle(&stream, &*data(&stream).state(py)?),
                None => Ok(()),
            }
        }
        Ok(Some(())) => complete(this, state),
        Err(error) if is_tls_error(py, &error)? => fail(this, state, error),
        Err(error) => Err(error),
    }
}

fn complete(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    let tls = data(this);
    stop_timer(py, state)?;
    state.phase.set(TlsPhase::Wrapped);
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
    if is_upgrade {
        // After the waiter: `start_tls()` hands the transport over, and the protocol must have it before its first
        // bytes.
        return read::later(this);
    }
    read::read(this, state)
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

/// Starts the shutdown, for `close()` or the peer's `close_notify`.
pub(crate) fn start_shutdown(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    match state.phase.get() {
        // The stream ended while the application had paused reading, and waits for it to resume, which it will not.
        TlsPhase::Flushing if state.at_end.get() && state.reading_paused.get() => {
            state.closed.set(true);
            return flush(this, state);
        }
        TlsPhase::Flushing | TlsPhase::Shutdown | TlsPhase::Unwrapped => return Ok(()),
        TlsPhase::Handshake => {
            state.closed.set(true);
            return abort(this, state, None);
        }
        TlsPhase::Wrapped => {}
    }
    state.closed.set(true);
    state.phase.set(TlsPhase::Flushing);
    start_shutdown_timer(this, state)?;
    flush(this, state)
}

fn start_shutdown_timer(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let name = name!(this.py(), "_check_shutdown_timeout");
    let seconds = data(this).timeouts.shutdown.bind(this.py());
    start_timer(this, state, seconds, name)
}

/// Timer callback: aborts if the peer has not sent its `close_notify`.
pub(crate) fn check_shutdown_timeout(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    static TIMEOUT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = this.py();
    if !matches!(state.phase.get(), TlsPhase::Flushing | TlsPhase::Shutdown) {
        return Ok(());
    }
    let Some(stream) = state.stream(py) else {
        return Ok(());
    };
    let class = make::imported(&TIMEOUT, py, "asyncio.exceptions", "TimeoutError")?;
    end(&stream, Some(class.call1(("SSL shutdown timed out",))?))
}

/// Delivers received data, then sends `close_notify`.
pub(crate) fn flush(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    read::read(this, state)?;
    if state.phase.get() != TlsPhase::Flushing {
        return Ok(()); // Delivering the data closed the connection.
    }
    state.phase.set(TlsPhase::Shutdown);
    shut_down(this, state)
}

/// Continues the shutdown as far as the received bytes allow.
pub(crate) fn shut_down(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    let outcome = if state.at_end.get() {
        Ok(Some(()))
    } else {
        discard(this, state).and_then(|()| state.session.shut_down(py))
    };
    match outcome {
        Ok(None) => write::send_outgoing(this, state),
        Ok(Some(())) => {
            write::send_outgoing(this, state)?;
            tell_end(this, state)?;
            let Some(stream) = state.stream(py) else {
                return Ok(());
            };
            // The stream first sends what it has buffered, which takes forever if the peer does not read. The timer
            // therefore runs until `connection_lost`; if the peer sent close_notify first, there is no timer yet.
            if state.timer.borrow().is_none() {
                start_shutdown_timer(this, state)?;
            }
            let close = stream.as_any().getattr(name!(py, "close"))?;
            let core = data(this).core.bind(py);
            core.call_method1(name!(py, "call_soon"), (close,))
                .map(drop)
        }
        Err(error) if is_tls_error(py, &error)? => {
            stop_timer(py, state)?;
            fatal(this, state, "Fatal error on transport", error)
        }
        Err(error) => Err(error),
    }
}

/// Discards received data that is not wanted any more: the session does not send `close_notify` while data is unread.
fn discard(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    while state.session.has_input(py)? {
        let ending = match state.session.decrypt(py, None) {
            Ok((_, ending)) => ending,
            Err(error) if is_goodbye(py, &error)? => break,
            Err(error) => return Err(error),
        };
        match ending {
            Ending::Full => {}
            Ending::Failed => return state.session.failure(py),
            Ending::Drained | Ending::Goodbye => break,
        }
    }
    // The stream may have been paused.
    read::control_stream(this, state)
}

/// Closes the connection without sending `close_notify`.
pub(crate) fn abort(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.phase.set(TlsPhase::Unwrapped);
    match state.stream(this.py()) {
        Some(stream) => end(&stream, error),
        None => Ok(()),
    }
}

/// `eof_received` of the stream. Returns `true` to keep the stream open.
pub(crate) fn at_end(this: &Bound<'_, Tls>) -> PyResult<bool> {
    let py = this.py();
    let tls = data(this);
    let state = tls.state(py)?;
    state.at_end.set(true);
    if tls.core.get().is_debug() {
        log(py, "debug", ("%r received EOF", this.as_any()), None)?;
    }
    let result = match state.phase.get() {
        TlsPhase::Handshake => fail(this, &state, PyConnectionResetError::new_err(())),
        TlsPhase::Wrapped => {
            state.phase.set(TlsPhase::Flushing);
            if state.reading_paused.get() {
                return Ok(true);
            }
            flush(this, &state)
        }
        TlsPhase::Flushing => write::write_backlog(this, &state).and_then(|()| {
            state.phase.set(TlsPhase::Shutdown);
            shut_down(this, &state)
        }),
        TlsPhase::Shutdown => shut_down(this, &state),
        TlsPhase::Unwrapped => Ok(()),
    };
    if let Err(error) = &result
        && error.is_instance_of::<PyException>(py)
        && let Some(stream) = state.stream(py)
    {
        stream::flush::close(&stream)?;
    }
    result.map(|()| false)
}

/// Calls the application's `eof_received`, at most once.
pub(crate) fn tell_end(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    let py = this.py();
    if state.told.get() != Told::Made {
        return Ok(());
    }
    state.told.set(Told::End);
    let Some(protocol) = state.protocol(py) else {
        return Ok(());
    };
    let answer = call::method(&protocol, name!(py, "eof_received"), [])
        .and_then(|answer| answer.is_truthy());
    match answer {
        Ok(false) => Ok(()),
        Ok(true) => {
            let text = "returning true from eof_received() has no effect when using ssl";
            log(py, "warning", (text,), None)
        }
        Err(error) if is_exit(py, &error) => Err(error),
        Err(error) => fatal(this, state, "Error calling eof_received()", error),
    }
}

/// `connection_lost` of the stream.
pub(crate) fn lost(this: &Bound<'_, Tls>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let tls = data(this);
    let state = tls.state(py)?;
    state.forget_backlog();
    let mut result = state.session.send(py, || None);
    state.conn_lost.set(state.conn_lost.get() + 1);
    state.closed.set(true);
    let protocol = state.take_protocol(py);
    if state.phase.get() != TlsPhase::Handshake
        && matches!(state.told.get(), Told::Made | Told::End)
        && let Some(protocol) = protocol
    {
        state.told.set(Told::Lost);
        let told = protocol
            .getattr(name!(py, "connection_lost"))
            .and_then(|callback| {
                let core = tls.core.bind(py);
                core.call_method1(name!(py, "call_soon"), (callback, error))
            });
        result = result.and(told.map(drop));
    }
    state.phase.set(TlsPhase::Unwrapped);
    state.set_stream(None);
    let woken = wake_waiter(py, &state, Some(error).filter(|error| !error.is_none()));
    forget_if_over(this, &state);
    // Runs every step even after an error: the stream reports the first error.
    result.and(woken).and(stop_timer(py, &state))
}

/// Completes the waiter of the handshake with its result, and with whether there is still a connection.
fn wake_waiter(py: Python<'_>, state: &TlsState, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
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

fn start_timer(
    this: &Bound<'_, Tls>,
    state: &TlsState,
    seconds: &Bound<'_, PyAny>,
    method: &Bound<'_, PyString>,
) -> PyResult<()> {
    let py = this.py();
    let callback = this.as_any().getattr(method)?;
    let core = data(this).core.bind(py);
    let timer = core.call_method1(name!(py, "call_later"), (seconds, callback))?;
    drop(state.timer.replace(Some(timer.unbind())));
    Ok(())
}

fn stop_timer(py: Python<'_>, state: &TlsState) -> PyResult<()> {
    match state.timer.take() {
        Some(timer) => timer.call_method0(py, name!(py, "cancel")).map(drop),
        None => Ok(()),
    }
}
