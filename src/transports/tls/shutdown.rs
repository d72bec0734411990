//! How a TLS connection ends: `close_notify`, the end of the stream, and `connection_lost`.

use pyo3::exceptions::{PyConnectionResetError, PyException};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::handshake::{fail, wake_waiter};
use super::read;
use super::session::{is_goodbye, is_tls_error};
use super::state::{
    Tls, TlsPhase, TlsState, Told, end, fatal, forget_if_over, start_timer, stop_timer,
};
use super::write;
use crate::ffi::wire::Ending;
use crate::ffi::{call, data, make, name};
use crate::scheduler::is_exit;
use crate::transports::logger::log;
use crate::transports::stream::{self};

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
    read::read_rest(this, state)?;
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
