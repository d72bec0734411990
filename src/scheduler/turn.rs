//! One turn of the loop, and the run that repeats turns: the only place where callbacks of the loop are called.

mod observed;
mod tested;

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::contain::{because, contain, is_exit};
use super::local::Ready;
use super::waits::Ask;
use super::{Core, Deferred, Local, Source, watchers};
use crate::driver::{Driver, Slot};
use crate::errors::os_error;
use crate::ffi::handle::{self, Handle};
use crate::ffi::panics::{caught, made};
use crate::ffi::{forget_value, handle_collector, name};
use crate::sys::clock::{monotonic_ns, nanoseconds};

/// Runs the loop on this thread until it is stopped or `until` is done. With `nests`, a callback of the loop may call
/// this too.
pub(crate) fn run(
    core: &Bound<'_, Core>,
    nests: bool,
    until: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let this = core.get();
    this.check_closed()?;
    let running = this.owner().run(core.py());
    let is_nested = running.is_none();
    if is_nested && !(nests && this.owner().is_running_here(core.py())) {
        return Err(PyRuntimeError::new_err(
            "This event loop is already running",
        ));
    }
    if !Driver::may_look() {
        return Err(PyRuntimeError::new_err(
            "Cannot run the event loop inside a tokio runtime",
        ));
    }
    let local = this.local(core.py())?;
    let nested = is_nested.then(|| local.nest());
    #[cfg(not(Py_GIL_DISABLED))]
    local.deadlines.settle(core.py());
    let turn = Turn {
        core,
        local: &local,
        until,
    };
    let result = turn.run(is_nested);
    local.signals.cease_to_hear(core.py());
    if nested.is_some() {
        drop(nested);
        // This run is nested in a turn, which continues; a `stop()` may be meant for that outer run.
        local.set_in_turn(true);
        if until.is_none() {
            this.clear_stop();
        }
        return result;
    }
    this.clear_stop();
    local.take_inbox(this);
    local.track_handles(core.py());
    result
}

/// Turns between two calls of a Python function. At the start of one, CPython passes the GIL to a thread that has
/// waited for the switch interval; callbacks may all be native and never do that. Releasing the GIL instead would
/// wake such a thread too briefly to take it, and its wait would start again each time.
const TURNS_ATTACHED: u32 = 64;

/// The state of a run that its turns share.
struct Turn<'a, 'py> {
    core: &'a Bound<'py, Core>,
    local: &'a Local,
    /// A future that ends the run.
    until: Option<&'a Bound<'py, PyAny>>,
}

/// What follows a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Stop,
    /// There is more to run: poll the kernel without waiting.
    Again,
    Wait,
}

impl Turn<'_, '_> {
    /// Repeats turns; the meters and a trace learn of the run.
    fn run(&self, is_nested: bool) -> PyResult<()> {
        let (py, shared) = (self.core.py(), &self.core.get().shared);
        let is_traced = self.core.get().is_traced();
        if is_traced {
            self.name_thread()?;
        }
        let outer =
            (shared.meters.phases).begin_run(self.core.get().owner().running_thread().unwrap_or(0));
        if is_traced {
            shared.tracer.begin_run(py, is_nested);
        }
        let result = made(py, self.repeat());
        if self.core.get().is_traced() {
            shared.tracer.end_run(py, is_nested);
        }
        shared.meters.phases.end_run(&outer);
        result
    }

    /// Repeats turns until one of them stops the run, and polls the kernel before each, so that a run does I/O once
    /// even if it is stopped at once.
    fn repeat(&self) -> PyResult<()> {
        let mut next = Next::Again;
        let mut driver = self.local.driver()?;
        let mut turns = 0_u32;
        let phases = &self.core.get().shared.meters.phases;
        while next != Next::Stop {
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_ATTACHED) {
                self.core.call_method0(name!(self.core.py(), "_give_way"))?;
            }
            watchers::settle(self.local);
            let inbox = &self.core.get().shared.inbox;
            // A wake since the last turn has cleared `parked`; then do not wait.
            let looked = driver.look(|| next == Next::Wait && inbox.is_parked());
            self.local.signals.cease_to_hear(self.core.py());
            inbox.unpark();
            phases.resume();
            looked.map_err(os_error)?;
            self.local.set_in_turn(true);
            let turned = caught(|| self.turn());
            self.local.set_in_turn(false);
            let waits = matches!(turned, Ok(Next::Wait));
            if waits && self.core.get().is_traced() {
                self.core.get().shared.tracer.note_turn(self.core.py());
            }
            phases.end_turn(waits);
            // With the GIL, a reader on any thread measures for itself.
            if cfg!(Py_GIL_DISABLED) && waits {
                self.local.measure();
            }
            next = turned?;
            if driver.is_inherited() {
                driver = self.local.driver()?;
            }
        }
        Ok(())
    }

    fn turn(&self) -> PyResult<Next> {
        let (core, local) = (self.core.get(), self.local);
        // A signal may have ended the wait; its Python handler may raise, which ends the run.
        self.core.py().check_signals()?;
        // A signal handler is a callback too.
        local.callback_over(self.core)?;
        let mut run = 0;
        let mut ran = false;
        let mut started = None;
        for _ in 0..MAX_PASSES {
            if local.take_ready_io() {
                contain(self.core, None, watchers::queue_due(self.core, local))?;
            }
            local.take_inbox(core);
            if local.deadlines.earliest().is_some() {
                let cancelled = core.shared.take_cancelled_timers();
                local.deadlines.begin_turn(self.core.py(), cancelled);
                local.take_due_timers(self.core.py(), self.now()?);
            }
            // Run exactly the entries queued now; what they schedule runs in the next pass.
            let count = local.ready_count();
            ran |= count > 0;
            if local.testing.arranges() {
                self.arrange(count)?;
            }
            self.pass(count)?;
            if core.is_stopping() || self.is_done()? {
                return Ok(Next::Stop);
            }
            // A callback may have changed the readiness of any descriptor, so poll the kernel before the next pass.
            // If nothing is scheduled, that pass only polls the set of watched descriptors for those still ready.
            let asks_only = local.ready_count() == 0 && local.has_ready_io();
            if count == 0 || (local.has_descriptors() && !asks_only) {
                break;
            }
            run += count;
            if run >= CLOCK_INTERVAL {
                run = 0;
                let now = monotonic_ns();
                if now - *started.get_or_insert(now) > MAX_TURN_NS {
                    break;
                }
            }
        }
        self.after_passes(ran)
    }

    /// Decides after the passes of a turn whether the next one waits.
    fn after_passes(&self, ran: bool) -> PyResult<Next> {
        let (core, local) = (self.core.get(), self.local);
        if local.is_inherited() {
            self.run_on_in_child()?;
        }
        match local.waits.at_end_of_turn(monotonic_ns, ran) {
            Ask::No => {}
            Ask::Now => contain(self.core, None, watchers::end_orphans(self.core, local))?,
            Ask::At(deadline_ns) => local.deadlines.arm(deadline_ns),
        }
        if local.ready_count() > 0 || local.has_ready_io() {
            return Ok(Next::Again);
        }
        // A wait may be long, and nothing else refers to a result that its `await` has taken.
        forget_value(self.core.py());
        local.signals.begin_to_hear(self.core.py());
        // Handles a signal that came earlier; its handler may have changed any state.
        self.core.py().check_signals()?;
        local.callback_over(self.core)?;
        if local.ready_count() > 0
            || local.has_ready_io()
            || core.is_stopping()
            || !local.signals.hears()
            || !self.may_wait()?
            || !core.shared.inbox.park()
        {
            return Ok(Next::Again);
        }
        Ok(Next::Wait)
    }

    /// Whether the future that ends the run is done.
    #[inline]
    fn is_done(&self) -> PyResult<bool> {
        self.until.map_or(Ok(false), |until| {
            until
                .call_method0(name!(self.core.py(), "done"))?
                .is_truthy()
        })
    }

    /// A callback has forked, and this is the child: replaces the parent's driver and signal pair, which it must
    /// neither wait on nor set.
    #[cold]
    fn run_on_in_child(&self) -> PyResult<()> {
        self.local.driver()?;
        let name = name!(self.core.py(), "_run_on_in_child");
        self.core.call_method0(name).map(drop)
    }

    /// Runs `count` entries of the queue; after each, sends what it wrote.
    fn pass(&self, count: usize) -> PyResult<()> {
        let meters = &self.core.get().shared.meters;
        for _ in 0..count {
            let Some(entry) = self.local.pop() else { break };
            meters.callbacks.count();
            // Errors return from here, because passing a result further up would store and load it each time.
            match entry {
                Ready::Handle(handle) => {
                    let handle = handle.into_bound(self.core.py());
                    if let Err(error) = self.call(&handle) {
                        drop(handle);
                        return self.ended(error);
                    }
                }
                Ready::Io(slot) => {
                    meters.io_events.count();
                    if let Err(error) = self.deliver(slot) {
                        return self.ended(error);
                    }
                }
                Ready::Deferred(deferred) => {
                    if let Err(error) = self.perform(*deferred) {
                        return self.ended(error);
                    }
                }
            }
            self.local.callback_over(self.core)?;
        }
        Ok(())
    }

    /// An error ends the run, but what was written before is still sent.
    #[cold]
    fn ended(&self, error: PyErr) -> PyResult<()> {
        let result: PyResult<()> = Err(error);
        result.and(self.local.callback_over(self.core))
    }

    /// Passes an event to its source. An error ends the source, not the loop.
    #[inline]
    fn serve(&self, source: &dyn Source, ready: u8) -> PyResult<()> {
        self.served(source, source.on_ready(self.core, ready))
    }

    #[inline]
    fn served(&self, source: &dyn Source, result: PyResult<()>) -> PyResult<()> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if is_exit(self.core.py(), &error) => Err(error),
            Err(error) => contain(self.core, None, source.on_failed(self.core, error)),
        }
    }

    #[inline]
    fn deliver(&self, slot: Arc<Slot>) -> PyResult<()> {
        self.local.deliver(slot, |source, ready| {
            if self.core.get().is_observed() {
                self.serve_closely(source, ready)
            } else {
                self.serve(source, ready)
            }
        })
    }

    fn perform(&self, deferred: Deferred) -> PyResult<()> {
        let py = self.core.py();
        let target = deferred.target.into_bound(py);
        let argument = deferred.argument.map(|argument| argument.into_bound(py));
        let step = deferred.step;
        let shown = || Ok(Some((step, Some(self.owner_of(&target)?))));
        self.timed(Some(&target), shown, || {
            let result = (deferred.run)(&target, argument);
            contain(self.core, Some(&target), result)
        })
    }

    #[inline]
    fn call(&self, handle: &Bound<'_, Handle>) -> PyResult<()> {
        if self.local.is_nested() && self.is_entered(handle)? {
            self.local.hold_back(handle.clone().unbind());
            return Ok(());
        }
        if self.core.get().is_observed() {
            return self.call_closely(handle);
        }
        if let Err(error) = handle::run(handle) {
            let result = self.failed(handle, error);
            handle_collector::leave(handle);
            return result;
        }
        handle_collector::leave(handle);
        Ok(())
    }

    /// Whether an outer callback runs in the same context, which cannot be entered twice.
    #[cold]
    fn is_entered(&self, handle: &Bound<'_, Handle>) -> PyResult<bool> {
        let py = self.core.py();
        let context = handle.as_any().getattr(name!(py, "_context"))?;
        let entered = context.call_method1(name!(py, "run"), (py.get_type::<PyDict>(),));
        Ok(entered.is_err_and(|error| error.is_instance_of::<PyRuntimeError>(py)))
    }

    /// Reports an exception of a callback; returns those that end the run.
    #[cold]
    fn failed(&self, handle: &Bound<'_, Handle>, error: PyErr) -> PyResult<()> {
        let py = self.core.py();
        if is_exit(py, &error) {
            return Err(error);
        }
        let name = name!(py, "_report_callback_error");
        let told = self
            .core
            .call_method1(name, (handle.as_any(), error.clone_ref(py)));
        let told = told.map(drop).map_err(|untold| because(py, untold, error));
        contain(self.core, Some(handle.as_any()), told)
    }

    /// Arms the timer for the earliest deadline; `false` when that has passed already.
    fn may_wait(&self) -> PyResult<bool> {
        if self.local.testing.has_virtual_time() {
            return self.may_wait_in_virtual_time();
        }
        let Some(deadline) = self.local.deadlines.next(self.core.py()) else {
            return Ok(true);
        };
        if !self.local.has_own_clock() && deadline < MAX_SECONDS {
            // Rounded up, because a wake before the deadline would find nothing due.
            self.local
                .deadlines
                .arm(nanoseconds(deadline).saturating_add(1));
            return Ok(true);
        }
        let seconds = (deadline - self.now()?).min(MAX_WAIT_SECONDS);
        if seconds <= 0.0 {
            return Ok(false);
        }
        self.local
            .deadlines
            .arm(monotonic_ns() + nanoseconds(seconds).saturating_add(1));
        Ok(true)
    }

    /// Seconds on the loop's clock, which a subclass may override.
    #[inline]
    fn now(&self) -> PyResult<f64> {
        now(self.core, self.local)
    }
}

/// Seconds on the loop's clock: `time.monotonic()`, or an overridden `time()`.
#[inline]
pub(crate) fn now(core: &Bound<'_, Core>, local: &Local) -> PyResult<f64> {
    if local.has_own_clock() {
        return core.call_method0(name!(core.py(), "time"))?.extract();
    }
    Ok(seconds(monotonic_ns()))
}

/// Converted as CPython converts its clock, so that `loop.time()` and `time.monotonic()` agree to the bit.
#[expect(clippy::cast_precision_loss, reason = "so does CPython")]
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds.cast_signed() as f64 / 1e9 // Signed, as the processor has an instruction for that only.
}

/// Passes between two polls of the kernel while no descriptor is registered, which a program cannot observe: a chain
/// of `call_soon` costs 165 ns per link instead of 444.
const MAX_PASSES: usize = 32;
/// Time limit for the passes of a turn, so that timers and I/O do not wait for long callbacks.
const MAX_TURN_NS: u64 = 100_000;
/// Callbacks between two readings of the clock.
const CLOCK_INTERVAL: usize = 8;
/// For later deadlines, the loop waits [`MAX_WAIT_SECONDS`] repeatedly.
const MAX_SECONDS: f64 = 1e9;
/// asyncio's longest wait.
const MAX_WAIT_SECONDS: f64 = 24.0 * 3600.0;
