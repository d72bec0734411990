//! The life cycle that all transports over descriptors share.
//!
//! `connection_made` is called in the pass after the transport was created. While the transport waits for events, the
//! loop's table keeps it alive. `connection_lost` is called exactly once, last, in a later pass than its cause.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ffi::context::{copy_current, run_in};
use crate::ffi::{Entered, NativeClass, call, data, downcast, make, name};
use crate::scheduler::admission::Admission;
use crate::scheduler::limits::{TimeLimits, milliseconds};
use crate::scheduler::tracer::Kind;
use crate::scheduler::{Core, Deferred, Local, READ, WRITE, is_exit, now};
use crate::transports::frame::Frame;
pub(crate) use crate::transports::life::{Life, Phase, Reading};
use crate::transports::logger::log;
use crate::transports::protocol::{self, callback_failed, step_failed};
use crate::transports::source;
use crate::transports::warnings;

/// A transport over a descriptor: what each kind adds to the shared life cycle.
pub(crate) trait Transport: NativeClass {
    type State: Send + 'static;

    /// asyncio's message for an error that has no more specific one.
    const FATAL: &'static str;
    /// Whether `add_reader()` and the `sock_*` methods refuse the descriptor of such a transport, as in asyncio.
    const CLAIMS: bool = true;
    /// See [`Source::again`].
    const AGAIN: u8 = READ | WRITE;

    fn frame(&self) -> &Frame<Self::State>;

    fn life(state: &Self::State) -> &Life;

    /// Whether the transport waits for events, so that the loop must keep it alive.
    fn is_waiting(state: &Self::State) -> bool;

    /// Called after `connection_made`: starts to wait for events.
    fn begin(this: &Bound<'_, Self>, state: &Self::State) -> PyResult<()>;

    /// Handles events. Runs in the transport's context.
    fn on_ready(this: &Bound<'_, Self>, state: &Self::State, ready: u8) -> PyResult<()>;

    /// Before `on_ready`, while Python's `_faults` decides what becomes of events: returns those that are handled now.
    fn meet_faults(_this: &Bound<'_, Self>, _state: &Self::State, ready: u8) -> PyResult<u8> {
        Ok(ready)
    }

    /// After `on_ready`: ends what `meet_faults` began.
    fn faults_met(_state: &Self::State) {}

    /// Handles an error that `on_ready` returned.
    fn on_failed(this: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        fail(this, Self::FATAL, error)
    }

    /// Closes the connection without sending what is buffered; `error` is passed to `connection_lost`.
    fn force_close(
        this: &Bound<'_, Self>,
        state: &Self::State,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()>;

    /// Whether it reads: what the kernel has received is soon passed on.
    fn reads(_state: &Self::State) -> bool {
        false
    }

    /// Whether a file is sent past its buffer.
    fn sends_file(_state: &Self::State) -> bool {
        false
    }

    /// See [`Source::press`].
    fn press(_this: &Bound<'_, Self>, _state: &Self::State, _has_risen: bool) -> PyResult<()> {
        Ok(())
    }

    /// Whether there is nothing left to close.
    fn is_over(state: &Self::State) -> bool {
        Self::life(state).phase.get() == Phase::Closed
    }

    /// Closes the descriptor, which is deregistered already.
    fn close_descriptor(py: Python<'_>, state: &Self::State) -> PyResult<()>;

    /// Called after the descriptor was closed: releases the rest.
    fn closed(_this: &Bound<'_, Self>, _state: &Self::State) -> PyResult<()> {
        Ok(())
    }

    /// The state; an error while the transport runs on another thread.
    #[inline]
    fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, Self::State>> {
        let owner = self.core().get().owner();
        let entered = self.frame().state.enter(py, owner);
        entered.ok_or_else(crate::scheduler::wrong_thread)
    }

    #[inline]
    fn core(&self) -> &Py<Core> {
        &self.frame().core
    }

    #[inline]
    fn context(&self) -> &Py<PyAny> {
        &self.frame().context
    }

    /// The loop's own state; an error on another thread than the one that runs it.
    #[inline]
    fn local<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, Local>> {
        self.core().get().local(py)
    }
}

/// Casts `object` to a transport of kind `T`.
#[inline]
pub(crate) fn cast<'a, 'py, T: Transport>(
    object: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, T>> {
    downcast(object).ok_or_else(|| {
        let name = T::NAME.to_str().unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or(name);
        PyTypeError::new_err(format!("a {name} is required"))
    })
}

/// Schedules for the next pass: call `connection_made`, start to wait for events, complete `waiter`.
pub(crate) fn start<T: Transport>(
    this: &Bound<'_, T>,
    local: &Local,
    fd: RawFd,
    waiter: Option<&Bound<'_, PyAny>>,
) {
    data(this).core().get().shared.meters.transports.count();
    if T::CLAIMS {
        local.claims.claim(fd);
    }
    local.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: waiter.map(|waiter| waiter.clone().unbind()),
        step: Kind::ConnectionMade,
        run: born::<T>,
    });
}

/// Ends a transport that [`start`] never saw: it was not counted, claims nothing and calls nothing.
pub(crate) fn never_begun(life: &Life) {
    life.phase.set(Phase::Closed);
    life.terms.end();
    let registration = life.registration.take();
    drop(registration);
}

/// A server has accepted the connection, whose limits begin to run.
pub(crate) fn accepted(
    core: &Bound<'_, Core>,
    local: &Local,
    life: &Life,
    admission: Admission,
) -> PyResult<()> {
    let times = admission.times();
    life.terms.accept(admission);
    match times {
        Some(times) => limit(core, local, life, Some(times)),
        None => Ok(()),
    }
}

/// Sets the time limits of a connection, which begin to run.
pub(crate) fn limit(
    core: &Bound<'_, Core>,
    local: &Local,
    life: &Life,
    times: Option<Arc<TimeLimits>>,
) -> PyResult<()> {
    let shortest = times.as_deref().map_or(0, |times| times.shortest());
    life.terms.set_times(times, milliseconds(now(core, local)?));
    look_within(core, local, shortest)
}

/// Has the loop look in time at a connection whose shortest limit is so many milliseconds; 0 is none.
fn look_within(core: &Bound<'_, Core>, local: &Local, shortest: u32) -> PyResult<()> {
    if shortest > 0
        && let Some(wait) = local.limiting.sooner(shortest)
    {
        look_soon(core, wait).inspect_err(|_| {
            local.limiting.looked(0); // The next connection has it tried again.
        })?;
    }
    Ok(())
}

/// The program reads again: the time in which it did not is none in which the peer was idle.
pub(crate) fn resume_limits<T: Transport>(this: &Bound<'_, T>, life: &Life) -> PyResult<()> {
    if life.terms.shortest() > 0 {
        let core = data(this).core().bind(this.py());
        let now = now(core, &*data(this).local(this.py())?)?;
        life.terms.resume(milliseconds(now));
    }
    Ok(())
}

/// Has the loop look at all limits in so many milliseconds.
fn look_soon(core: &Bound<'_, Core>, wait: u32) -> PyResult<()> {
    let py = core.py();
    let wait = make::float(py, f64::from(wait) / 1e3)?.into_any();
    call::method(core.as_any(), name!(py, "_look_soon"), [&wait]).map(drop)
}

/// Calls `connection_made`, starts to wait for events, then completes the waiter.
fn born<T: Transport>(this: &Bound<'_, PyAny>, waiter: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = cast::<T>(this)?;
    let py = this.py();
    let state = data(this).state(py)?;
    let made = call_protocol_in(
        data(this).context(),
        this,
        T::life(&state),
        name!(py, "connection_made"),
        [this.as_any()],
    );
    // An exception that ends the run must not keep the connection from starting: the next run continues with it.
    let begun = T::begin(this, &state);
    let woken = waiter.map_or(Ok(()), |waiter| wake_waiter(&waiter));
    made.and(begun).and(woken)
}

/// Completes the future that waits for the transport, unless it was cancelled.
fn wake_waiter(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = waiter.py();
    if !waiter.call_method0(name!(py, "cancelled"))?.is_truthy()? {
        waiter.call_method1(name!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
}

/// Calls a method of the protocol as a callback of the loop: an exception is reported, and the transport stays open.
pub(crate) fn call_protocol<T: Transport, const N: usize>(
    this: &Bound<'_, T>,
    life: &Life,
    method: &Bound<'_, PyString>,
    arguments: [&Bound<'_, PyAny>; N],
) -> PyResult<()> {
    let Some(protocol) = life.protocol(this.py()) else {
        return Ok(());
    };
    let called = call::method(&protocol, method, arguments);
    called.map(drop).or_else(|error| {
        let core = data(this).core().bind(this.py());
        callback_failed(core, this.as_any(), &protocol, method, &arguments, error)
    })
}

/// As `call_protocol`, in `context`.
pub(crate) fn call_protocol_in<T: Transport, const N: usize>(
    context: &Py<PyAny>,
    this: &Bound<'_, T>,
    life: &Life,
    method: &Bound<'_, PyString>,
    arguments: [&Bound<'_, PyAny>; N],
) -> PyResult<()> {
    run_in(context.bind(this.py()), |_| {
        call_protocol(this, life, method, arguments)
    })
}

/// Reports an error of a step that asyncio runs in a handle of its own; the transport is unaffected.
pub(crate) fn report_step<T: Transport>(
    this: &Bound<'_, T>,
    life: &Life,
    step: &str,
    error: PyErr,
) -> PyResult<()> {
    let py = this.py();
    let core = data(this).core().bind(py);
    step_failed(core, this.as_any(), life.protocol(py).as_ref(), step, error)
}

/// Updates the loop's table: it holds the transport while that waits for events, as asyncio's selector does, so a
/// paused transport without references can be collected.
pub(crate) fn update_interest<T: Transport>(this: &Bound<'_, T>, state: &T::State) -> PyResult<()> {
    let life = T::life(state);
    let wanted = life.phase.get() != Phase::Closed && T::is_waiting(state);
    if wanted == life.attached.get() {
        return Ok(());
    }
    let registration = life.registration.borrow();
    let Some(registration) = &*registration else {
        return Ok(());
    };
    let local = data(this).local(this.py())?;
    life.attached.set(wanted);
    if wanted {
        local.attach(registration, source::of(this));
        if local.limiting.is_still() {
            // The looks have ended, because they saw no connection with limits.
            let core = data(this).core().bind(this.py());
            return look_within(core, &local, life.terms.shortest());
        }
    } else {
        local.detach(registration);
    }
    Ok(())
}

/// Schedules `connection_lost` for a later pass.
pub(crate) fn lose_later<T: Transport>(
    this: &Bound<'_, T>,
    life: &Life,
    error: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = this.py();
    if !life.keeps_context.get() {
        // As with asyncio's `call_soon`, `connection_lost` runs in a copy of the context that ended the connection.
        // Ignored: without memory for a copy it runs in the transport's own context, but it does run.
        let context = copy_current(py).ok().map(Bound::unbind);
        let before = life.lost_in.replace(context);
        drop(before);
    }
    data(this).local(py)?.defer(Deferred {
        target: this.clone().into_any().unbind(),
        argument: error.map(Bound::unbind),
        step: Kind::ConnectionLost,
        run: lost::<T>,
    });
    Ok(())
}

/// Calls `connection_lost`, then releases everything, even if that raised.
fn lost<T: Transport>(this: &Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let this = cast::<T>(this)?;
    let py = this.py();
    let transport = data(this);
    let state = transport.state(py)?;
    let life = T::life(&state);
    if life.phase.get() == Phase::Closed {
        return Ok(());
    }
    let error = error.unwrap_or_else(|| py.None().into_bound(py));
    let context = life.lost_in.take();
    let context = context.unwrap_or_else(|| transport.context().clone_ref(py));
    let name = name!(py, "connection_lost");
    let told = call_protocol_in(&context, this, life, name, [&error]);
    let protocol = life.protocol(py);
    let closed = let_go(this, &state).or_else(|error| {
        let (core, step) = (transport.core().bind(py), "_call_connection_lost");
        step_failed(core, this.as_any(), protocol.as_ref(), step, error)
    });
    told.and(closed)
}

/// Runs every step, even after an error; returns the first error.
fn let_go<T: Transport>(this: &Bound<'_, T>, state: &T::State) -> PyResult<()> {
    let life = T::life(state);
    life.phase.set(Phase::Closed);
    life.meters.connections_lost.count();
    life.note_end();
    let detached = update_interest(this, state);
    let registration = life.registration.take();
    drop(registration);
    let closed = T::close_descriptor(this.py(), state);
    let protocol = life.protocol.take();
    drop(protocol);
    detached.and(closed).and(T::closed(this, state))
}

/// Ends the connection because of an error, which is reported under `message` unless it is a network error.
pub(crate) fn fail<T: Transport>(this: &Bound<'_, T>, message: &str, error: PyErr) -> PyResult<()> {
    end_with(this, message, error, protocol::report_fatal)
}

/// As `fail`, but reports every error.
pub(crate) fn fail_aloud<T: Transport>(
    this: &Bound<'_, T>,
    message: &str,
    error: PyErr,
) -> PyResult<()> {
    end_with(this, message, error, protocol::report)
}

/// [`protocol::report`] or [`protocol::report_fatal`].
type Report =
    fn(&Bound<'_, Core>, &str, PyErr, &Bound<'_, PyAny>, Option<&Bound<'_, PyAny>>) -> PyResult<()>;

#[cold]
fn end_with<T: Transport>(
    this: &Bound<'_, T>,
    message: &str,
    error: PyErr,
    report: Report,
) -> PyResult<()> {
    let py = this.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    let state = data(this).state(py)?;
    let core = data(this).core().bind(py);
    let protocol = T::life(&state).protocol(py);
    let error = protocol::traced(core, error);
    let copy = error.clone_ref(py);
    let told = report(core, message, copy, this.as_any(), protocol.as_ref());
    let error = error.into_value(py).into_bound(py).into_any();
    told.and(T::force_close(this, &state, Some(error)))
}

/// Logs a message about a transport in debug mode; `text` contains one `%r` for the transport.
pub(crate) fn log_of<T: Transport>(
    transport: &Bound<'_, T>,
    level: &str,
    text: &str,
) -> PyResult<()> {
    let py = transport.py();
    if !data(transport).core().get().is_debug() {
        return Ok(());
    }
    log(py, level, (text, transport.as_any()), None)
}

/// `__del__`: warns about a transport that was not closed, and closes the descriptor, as asyncio's transports do.
pub(crate) fn finalize<T: Transport>(this: &Bound<'_, T>) {
    let py = this.py();
    let transport = data(this);
    let Ok(state) = transport.state(py) else {
        return;
    };
    if T::is_over(&state) {
        return;
    }
    let life = T::life(&state);
    let warned = warnings::unclosed(this.as_any());
    life.note_end();
    life.phase.set(Phase::Closed);
    let registration = life.registration.take();
    drop(registration);
    if T::CLAIMS
        && let Ok(local) = transport.local(py)
    {
        local.claims.release(life.fd);
    }
    let closed = T::close_descriptor(py, &state).and(T::closed(this, &state));
    if let Err(error) = warned.and(closed) {
        error.write_unraisable(py, Some(this.as_any()));
    }
}
