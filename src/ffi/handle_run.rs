//! What running a handle does: its callback is called in its context.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::call::vectorcall;
use super::context::Entered;
use super::handle::{ELSEWHERE, Handle, THREAD_SAFE, fields, let_go, with};
use super::handle_ended::ENDED;
use super::handle_words::{Word, expect_word, missing};
use super::panics::raise;
use super::reference::{borrowed, is_function, new_reference, release, truth};

/// Runs the callback in its context, unless the handle was cancelled.
#[expect(
    clippy::inline_always,
    reason = "of all calls in the loop's turn, all but those in debug mode"
)]
#[inline(always)]
pub(crate) fn run(handle: &Bound<'_, Handle>) -> PyResult<()> {
    let Some(call) = begin(handle) else {
        return Ok(());
    };
    if call.context.is_null() {
        end(handle, &call);
        return Err(missing(handle, "_context"));
    }
    let (result, replaced) = call_inside(handle, &call);
    if result.is_null() {
        return Err(failed(handle, call, replaced));
    }
    end(handle, &call);
    release(replaced);
    release(result);
    Ok(())
}

/// Calls in the context: a new reference, or null with an exception set; and the context, or null, which the caller
/// lets go of when the call is over. Pointers, since a `PyResult` would go through memory.
#[expect(clippy::inline_always, reason = "as `run`")]
#[inline(always)]
fn call_inside(
    handle: &Bound<'_, Handle>,
    call: &Call,
) -> (*mut ffi::PyObject, *mut ffi::PyObject) {
    let py = handle.py();
    // SAFETY: attached; alive when it is entered: `begin` took a reference, or the handle has one and no Python code has
    // run. Then the thread has one until it is left, and for leaving `replaced` has.
    let context = unsafe { borrowed::<PyAny>(py, &call.context) };
    let Some(entered) = Entered::enter(context) else {
        return (ptr::null_mut(), ptr::null_mut());
    };
    let result = if call.count == ELSEWHERE {
        with_tuple(handle, call.callback)
    } else {
        let count = usize::from(call.count) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: attached; `begin` keeps callback and arguments alive, and `scratch`, the slot in front of the
        // inline ones, may be scribbled on, as the flag says.
        unsafe { vectorcall(call.callback, inline_arguments(handle), count) }
    };
    let replaced = if with(handle, |fields| fields.context) == call.context {
        ptr::null_mut()
    } else {
        new_reference(call.context)
    };
    if entered.leave() {
        return (result, replaced);
    }
    release(result);
    (ptr::null_mut(), replaced)
}

/// The exception that is set, when all is let go of.
#[cold]
fn failed(handle: &Bound<'_, Handle>, call: Call, replaced: *mut ffi::PyObject) -> PyErr {
    let error = PyErr::fetch(handle.py());
    end(handle, &call);
    release(replaced);
    error
}

/// What is called, kept alive until `end`.
#[derive(Clone, Copy)]
struct Call {
    callback: *mut ffi::PyObject,
    /// The handle's, or null; with the GIL borrowed.
    context: *mut ffi::PyObject,
    /// How many arguments are inline, or `ELSEWHERE`.
    count: u8,
    /// The callback's reference is the call's own.
    owned: bool,
    /// The handle runs inside its own callback.
    nested: bool,
}

/// What is to be called, unless the handle was cancelled.
#[inline]
fn begin(handle: &Bound<'_, Handle>) -> Option<Call> {
    with(handle, |fields| {
        if fields.cancelled != truth(false) || fields.callback.is_null() {
            return None;
        }
        // The frame of a Python function holds the function: the callback may be replaced meanwhile.
        let owned = cfg!(Py_GIL_DISABLED) || !is_function(fields.callback);
        if owned {
            new_reference(fields.callback);
        }
        if cfg!(Py_GIL_DISABLED) && !fields.context.is_null() {
            new_reference(fields.context);
        }
        Some(Call {
            callback: fields.callback,
            context: fields.context,
            count: if fields.args.is_null() {
                fields.count
            } else {
                ELSEWHERE
            },
            owned,
            nested: std::mem::replace(&mut fields.running, true),
        })
    })
}

/// As asyncio's `callback(*args)`: a new reference, or null with an exception set.
#[cold]
fn with_tuple(handle: &Bound<'_, Handle>, callback: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let py = handle.py();
    // SAFETY: attached; `begin` keeps it alive, or no Python code has run since.
    let callback = unsafe { borrowed::<PyAny>(py, &callback) }.clone();
    let call = || {
        let args = expect_word(handle, Word::Args)?;
        if let Ok(args) = args.cast::<PyTuple>() {
            return callback.call1(args);
        }
        let args = py.get_type::<PyTuple>().call1((args,))?;
        callback.call1(args.cast_into::<PyTuple>()?)
    };
    match call() {
        Ok(result) => result.into_ptr(),
        Err(error) => {
            raise(py, error);
            ptr::null_mut()
        }
    }
}

/// Lets go of what `begin` kept, and of the arguments where the handle was cancelled meanwhile.
#[inline]
fn end(handle: &Bound<'_, Handle>, call: &Call) {
    let (cancelled, awaited) = with(handle, |fields| {
        fields.running = call.nested;
        (
            fields.cancelled != truth(false),
            !call.nested && std::mem::replace(&mut fields.awaited, false),
        )
    });
    if awaited {
        ENDED.announce();
    }
    if cancelled {
        let_go(handle, None);
    }
    if call.owned {
        release(call.callback);
    }
    if cfg!(Py_GIL_DISABLED) {
        release(call.context);
    }
}

/// Waits, detached, until the callback does not run any more, where the handle was made for that.
pub(crate) fn wait_until_ended(handle: &Bound<'_, Handle>) {
    while handle.as_any().get_type_ptr() == THREAD_SAFE.object() {
        let seen = ENDED.count();
        let runs = with(handle, |fields| {
            fields.awaited = fields.running;
            fields.awaited
        });
        if !runs {
            return;
        }
        handle.py().detach(|| ENDED.wait(seen));
    }
}

/// Where a handle keeps its inline arguments.
#[inline]
fn inline_arguments(handle: &Bound<'_, Handle>) -> *const *mut ffi::PyObject {
    let place = fields(handle.as_ptr());
    // SAFETY: the handle is alive; only the address is taken.
    unsafe { (&raw const (*place).arguments).cast() }
}
