//! What Python code sees of a call: its name, and how far it is.

use pyo3::prelude::*;

use super::call::{Phase, StreamCall, qualified};
use crate::ffi::{attribute, data, make};

type This = StreamCall;

attribute!(Name, c"__name__", |this| {
    Ok(make::string(this.py(), data(this).name().1)?.into_any())
});

attribute!(QualifiedName, c"__qualname__", |this| {
    Ok(make::string(this.py(), &qualified(this))?.into_any())
});

attribute!(Running, c"cr_running", |this| {
    Ok(data(this).state(this.py())?.phase.get() == Phase::Running)
});

attribute!(Awaited, c"cr_await", |this| {
    let py = this.py();
    let state = data(this).state(py)?;
    let waits_for = state.waits_for.borrow();
    let object = waits_for.as_ref().map(|object| object.clone_ref(py));
    Ok(object.unwrap_or_else(|| py.None()).into_bound(py))
});

attribute!(Suspended, c"cr_suspended", |this| {
    let phase = data(this).state(this.py())?.phase.get();
    Ok(!matches!(
        phase,
        Phase::Created | Phase::Running | Phase::Done
    ))
});

// `inspect.getcoroutinestate()` asks for this since Python 3.15.
attribute!(CoroutineState, c"cr_state", |this| {
    let text = match data(this).state(this.py())?.phase.get() {
        Phase::Created => "CORO_CREATED",
        Phase::Running => "CORO_RUNNING",
        Phase::Waiting | Phase::WaitingOrdinarily | Phase::Ordinary => "CORO_SUSPENDED",
        Phase::Done => "CORO_CLOSED",
    };
    Ok(make::string(this.py(), text)?.into_any())
});

// Tools that draw a task's stack look for a frame wherever they find `cr_await`.
attribute!(Frame, c"cr_frame", |this| Ok(this
    .py()
    .None()
    .into_bound(this.py())));
