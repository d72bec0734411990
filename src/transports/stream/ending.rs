//! Closing of a stream transport.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use super::state::{State, Stream, Writing};
use crate::ffi::{data, name};
use crate::scheduler::watchers::wake;
use crate::transports::lifecycle::{Phase, Reading, Transport, lose_later, update_interest};

/// Begins to close: stops reading and releases the claim on the descriptor.
pub(crate) fn begin_closing(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    state.life.phase.set(Phase::Closing);
    state.reading.set(Reading::Ended);
    data(this).local(this.py())?.claims.release(state.life.fd);
    update_interest(this, state)
}

/// Closes the connection without sending what is buffered.
pub(crate) fn force_close(
    this: &Bound<'_, Stream>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    if state.conn_lost.get() > 0 {
        return Ok(());
    }
    state.buffer.borrow_mut().clear();
    state.writing.set(Writing::Idle);
    if state.life.is_open() {
        begin_closing(this, state)?;
    }
    update_interest(this, state)?;
    lose(this, state, error)
}

/// Fails the future that waits for an empty buffer.
pub(crate) fn fail_waiter(this: &Bound<'_, Stream>, state: &State, error: &PyErr) -> PyResult<()> {
    let py = this.py();
    let waiter = state
        .empty_waiter
        .borrow()
        .as_ref()
        .map(|waiter| waiter.clone_ref(py));
    if let Some(waiter) = waiter
        && !waiter.call_method0(py, name!(py, "done"))?.is_truthy(py)?
    {
        waiter.call_method1(py, name!(py, "set_exception"), (error.clone_ref(py),))?;
    }
    Ok(())
}

/// Schedules `connection_lost` for a later pass; from now on, writes are counted and dropped.
pub(super) fn lose(
    this: &Bound<'_, Stream>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.conn_lost.set(state.conn_lost.get() + 1);
    lose_later(this, &state.life, error)
}

/// Fails a pending `sendfile()`, because the connection is gone.
pub(super) fn fail_sendfile(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    if state.empty_waiter.borrow().is_none() {
        return Ok(());
    }
    let failed = fail_waiter(this, state, &PyConnectionError::new_err(LOST));
    // `sendfile()` may also wait on the descriptor, for which the reactor fires no more.
    let woken = wake(data(this).core().bind(this.py()), state.life.fd);
    failed.and(woken)
}

/// asyncio's message for a `sendfile()` that waited for an empty buffer.
const LOST: &str = "Connection is closed by peer";
