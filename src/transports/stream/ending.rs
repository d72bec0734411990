//! How a stream transport ends.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use super::state::{Phase, Reading, State, Stream, Writing, cast, update_interest};
use crate::ffi::context::{copy_current, run_in};
use crate::ffi::{call, data, name};
use crate::scheduler::watchers::wake;
use crate::scheduler::{Deferred, is_exit};
use crate::transports::clients;
use crate::transports::protocol::{self, callback_failed, step_failed};

/// The beginning of the end: no more reading, and no claim on the descriptor.
pub(crate) fn begin_closing(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    state.phase.set(Phase::Closing);
    state.reading.set(Reading::Ended);
    data(this).core.get().local(this.py())?.release(state.fd);
    update_interest(this, state)
}

/// Has `connection_lost` called in a later pass.
pub(crate) fn lose_later(
    this: &Bound<'_, Stream>,
    state: &State,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    state.conn_lost.set(state.conn_lost.get() + 1);
    if !data(this).is_context_given {
        // As asyncio's `call_soon` would: what ended the connection gives the context.
        let before = state
            .lost_in
            .replace(Some(copy_current(this.py())?.unbind()));
        drop(before);
    }
    data(this).core.get().local(this.py())?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: error.map(Bound::unbind),
        run: lost,
    });
    Ok(())
}

/// Ends the connection because of an error, reported under `message` unless it is the network's doing.
pub(crate) fn fail(this: &Bound<'_, Stream>, message: &str, error: PyErr) -> PyResult<()> {
    let py = this.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let stream = data(this);
    let state = stream.state(py)?;
    let (protocol, core) = (state.protocol(py), stream.core.bind(py));
    let error = protocol::traced(core, error);
    let told = protocol::report_fatal(
        core,
        message,
        error.clone_ref(py),
        this.as_any(),
        protocol.as_ref(),
    );
    let closed = force_close(this, Some(error.into_value(py).into_bound(py).into_any()));
    told.and(closed)
}

/// Ends the connection without sending what is buffered.
pub(crate) fn force_close(
    this: &Bound<'_, Stream>,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let state = data(this).state(this.py())?;
    if state.conn_lost.get() > 0 {
        return Ok(());
    }
    state.buffer.borrow_mut().clear();
    state.writing.set(Writing::Idle);
    if state.is_open() {
        begin_closing(this, &state)?;
    }
    update_interest(this, &state)?;
    lose_later(this, &state, error)
}

/// Calls `connection_lost`, then lets go of everything.
pub(super) fn lost(this: &Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = cast(this)?;
    let py = this.py();
    let stream = data(this);
    let state = stream.state(py)?;
    if state.phase.replace(Phase::Closed) == Phase::Closed {
        return Ok(());
    }
    let error = error.unwrap_or_else(|| py.None().into_bound(py));
    let context = state
        .lost_in
        .take()
        .unwrap_or_else(|| stream.context.clone_ref(py));
    let core = stream.core.bind(py);
    let protocol = state.protocol(py);
    let told = match &protocol {
        None => Ok(()),
        Some(protocol) => run_in(context.bind(py), |_| {
            let name = name!(py, "connection_lost");
            let told = call::method(protocol, name, [&error]).map(drop);
            told.or_else(|raised| {
                callback_failed(core, this.as_any(), protocol, name, &[&error], raised)
            })
        }),
    };
    let closed = let_go(this, &state).or_else(|error| {
        let step = "_call_connection_lost";
        step_failed(core, this.as_any(), protocol.as_ref(), step, error)
    });
    told.and(closed)
}

/// All of it, whatever fails: the first error is answered.
fn let_go(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let py = this.py();
    state.writing.set(Writing::Idle);
    state.reading.set(Reading::Ended);
    let mut result = update_interest(this, state);
    let registration = state.registration.take();
    drop(registration);
    result = result.and(state.descriptor.close(py));
    if state.empty_waiter.borrow().is_some() {
        let failed = fail_waiter(this, state, &PyConnectionError::new_err(LOST));
        // Who sends a file waits on the descriptor, which nobody will be told of any more.
        let woken = wake(data(this).core.bind(py), state.fd);
        result = result.and(failed).and(woken);
    }
    let (protocol, server) = (state.protocol.take(), state.server.take());
    drop(protocol);
    if let Some(server) = server {
        result = result.and(clients::detach(server.bind(py), this.as_any()));
    }
    result
}

/// asyncio's word for a `sendfile()` that waited for its turn.
const LOST: &str = "Connection is closed by peer";

/// What waits for an empty buffer will not get it.
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
