//! `call_soon` and related methods, which are called most often.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyType};

use super::call::{Call, Signature};
use crate::ffi::handle::{self, Handle, HandleKind};
use crate::ffi::handle_collector;
use crate::ffi::handle_words::{Word, set_word};
use crate::ffi::{add_fast_method, light_method, make, method, name};
use crate::scheduler::{Core, now};

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<CallSoon>(class)?;
    add_fast_method::<CallSoonThreadsafe>(class)?;
    add_fast_method::<CallLater>(class)?;
    add_fast_method::<CallAt>(class)?;
    add_fast_method::<MakeHandle>(class)
}

type This = Core;

light_method!(
    CallSoon,
    "call_soon",
    "($self, callback, *args, context=None)",
    "Call `callback(*args)` in the next turn of the loop, in the order of the calls.",
    |this, arguments| {
        let core = this.get();
        let call = Call::parse(arguments, Signature::of("call_soon"))?;
        core.check_closed()?;
        if core.is_debug() {
            check_thread(this.py(), core)?;
            check_callback(this, call.callback, "call_soon")?;
        }
        let handle = call.handle(this, HandleKind::Plain, 0.0)?;
        enqueue(core, &handle)?;
        Ok(handle.into_any())
    }
);

/// asyncio uses a separate class for these since Python 3.14.
const THREAD_SAFE: HandleKind = if cfg!(Py_3_14) {
    HandleKind::ThreadSafe
} else {
    HandleKind::Plain
};

light_method!(
    CallSoonThreadsafe,
    "call_soon_threadsafe",
    "($self, callback, *args, context=None)",
    "Call `callback(*args)` in the loop's next turn, and wake the loop; from any thread.",
    |this, arguments| {
        let core = this.get();
        let call = Call::parse(arguments, Signature::of("call_soon_threadsafe"))?;
        core.check_closed()?;
        if core.is_debug() {
            check_callback(this, call.callback, "call_soon_threadsafe")?;
        }
        let handle = call.handle(this, THREAD_SAFE, 0.0)?;
        enqueue(core, &handle)?;
        core.shared.inbox.wake();
        Ok(handle.into_any())
    }
);

light_method!(
    CallLater,
    "call_later",
    "($self, delay, callback, *args, context=None)",
    "Call `callback(*args)` after `delay` seconds on `time()`; zero or less runs it in a coming turn.",
    |this, arguments| {
        let core = this.get();
        let signature = Signature::after("call_later", "delay");
        let call = Call::parse(arguments, signature)?;
        let delay = call.number(signature, "delay must not be None")?;
        let start = now(this, &*core.local(this.py())?)?;
        let when = if let Ok(delay) = delay.cast_exact::<PyFloat>() {
            start + delay.value()
        } else if delay.is_exact_instance_of::<PyInt>() {
            start + delay.extract::<f64>()?
        } else {
            // Added as asyncio adds them, which raises for what cannot be added to a time.
            let when = make::float(this.py(), start)?.add(delay)?;
            core.check_closed()?;
            when.extract()?
        };
        core.check_closed()?;
        timer(this, &call, when)
    }
);

light_method!(
    CallAt,
    "call_at",
    "($self, when, callback, *args, context=None)",
    "Call `callback(*args)` when `time()` reaches `when`, in seconds.",
    |this, arguments| {
        let signature = Signature::after("call_at", "when");
        let call = Call::parse(arguments, signature)?;
        let given = call.number(signature, "when cannot be None")?;
        this.get().check_closed()?;
        let when = given.extract()?;
        let handle = timer(this, &call, when)?;
        // aiohttp rounds its timeouts to whole seconds, and reads them back.
        if when.abs() < MAX_WHOLE
            && given.is_exact_instance_of::<PyInt>()
            && let Some(handle) = handle::downcast(&handle)
        {
            set_word(handle, Word::When, Some(given.to_owned()));
        }
        Ok(handle)
    }
);

method!(
    MakeHandle,
    "_make_handle",
    "($self, callback, *args, context=None)",
    "A handle that is not queued yet; see `_add_callback`.",
    |this, arguments| {
        let call = Call::parse(arguments, Signature::of("_make_handle"))?;
        let handle = call.handle(this, HandleKind::Plain, 0.0)?;
        handle_collector::track(&handle);
        Ok(handle.into_any())
    }
);

/// Creates a timer and puts it on the heap.
fn timer<'py>(
    this: &Bound<'py, Core>,
    call: &Call<'_, 'py>,
    when: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let core = this.get();
    if core.is_debug() {
        check_thread(this.py(), core)?;
        // asyncio's `call_later` calls `call_at`, so it reports that name too.
        check_callback(this, call.callback, "call_at")?;
    }
    let handle = call.handle(this, HandleKind::Timer, when)?;
    let (local, timer) = (core.local(this.py())?, handle.clone().unbind());
    // NaN has no order with a time; in asyncio's queue such a timer is due at once.
    let when = if when.is_nan() {
        f64::NEG_INFINITY
    } else {
        when
    };
    #[cfg(not(Py_GIL_DISABLED))]
    if !core.is_running() {
        local.deadlines.push_stopped(this.py(), when, timer)?;
        return Ok(handle.into_any());
    }
    local.deadlines.push(when, timer)?;
    Ok(handle.into_any())
}

/// Above this, not every integer is a float.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Queues a handle after everything that any thread queued before.
///
/// With the GIL, the thread that holds it pushes to the queue directly. On free-threaded builds, another thread's
/// handle goes through the inbox.
#[inline]
pub(super) fn enqueue(core: &Core, handle: &Bound<'_, Handle>) -> PyResult<()> {
    let py = handle.py();
    let handle = handle.clone().unbind();
    if let Some(local) = core.try_local(py) {
        local.take_inbox(core);
        #[cfg(not(Py_GIL_DISABLED))]
        if !core.is_running() {
            return local.push_stopped(py, handle);
        }
        local.push(handle)
    } else {
        // The loop belongs to another thread. asyncio would accept the call, so this does too, safely.
        core.shared.inbox.push(handle)
    }
}

/// Returns `RuntimeError` if another thread runs the loop.
pub(super) fn check_thread(py: Python<'_>, core: &Core) -> PyResult<()> {
    if core.owner().running_thread().is_none() || core.owner().is_running_here(py) {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(
        "Non-thread-safe operation invoked on an event loop other than the current one",
    ))
}

/// asyncio's own check, with its error text.
fn check_callback(
    core: &Bound<'_, Core>,
    callback: Borrowed<'_, '_, PyAny>,
    method: &str,
) -> PyResult<()> {
    core.call_method1(name!(core.py(), "_check_callback"), (callback, method))
        .map(drop)
}
