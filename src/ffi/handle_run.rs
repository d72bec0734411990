//! What running a handle does: its callback is called in its context.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::call::vectorcall;
use super::context::Entered;
use super::handle_cancel::let_go;
use super::handle_ended::ENDED;
use super::handle_fields::{ELSEWHERE, Fields, Handle, THREAD_SAFE, fields, with};
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
        // SAFETY: begun above, and ended here.
        unsafe { end(handle, &call) };
        return Err(missing(handle, "_context"));
    }
    // SAFETY: begun above, with a context.
    let (result, replaced) = unsafe { call_inside(handle, &call) };
    if result.is_null() {
        // SAFETY: begun above, and ended here; an exception is set, and `replaced` is ours.
        return Err(unsafe { failed(handle, call, replaced) });
    }
    // SAFETY: begun above, and ended here.
    unsafe { end(handle, &call) };
    // SAFETY: attached; null, or a reference of ours, which is not used afterwards.
    unsafe { release(replaced) };
    // SAFETY: as above.
    unsafe { release(result) };
    Ok(())
}

/// Calls in the context: a new reference, or null with an exception set; and the context, or null, which the caller
/// releases when the call is over. Pointers, since a `PyResult` would go through memory.
///
/// # Safety
///
/// `call` was begun with this handle and not ended, and has a context.
#[expect(clippy::inline_always, reason = "as `run`")]
#[inline(always)]
unsafe fn call_inside(
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
        // SAFETY: `begin` keeps it alive, and no Python code has run since where only the handle does.
        unsafe { with_tuple(handle, call.callback) }
    } else {
        let count = usize::from(call.count) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: attached; `begin` keeps callback and arguments alive, and `scratch`, the slot in front of the
        // inline ones, may be scribbled on, as the flag says.
        unsafe { vectorcall(call.callback, inline_arguments(handle), count) }
    };
    // SAFETY: only looks.
    let replaced = if unsafe { with(handle, |fields| fields.context) } == call.context {
        ptr::null_mut()
    } else {
        // SAFETY: attached; the thread is inside of it, and keeps it alive.
        unsafe { new_reference(call.context) }
    };
    if entered.leave() {
        return (result, replaced);
    }
    // SAFETY: attached; null, or the new reference of the call, which is not used afterwards.
    unsafe { release(result) };
    (ptr::null_mut(), replaced)
}

/// The exception that is set, after the call was ended.
///
/// # Safety
///
/// `call` was begun with this handle and not ended; an exception is set; `replaced` is null or a reference that the
/// caller gives up.
#[cold]
unsafe fn failed(handle: &Bound<'_, Handle>, call: Call, replaced: *mut ffi::PyObject) -> PyErr {
    let error = PyErr::fetch(handle.py());
    // SAFETY: the caller's.
    unsafe { end(handle, &call) };
    // SAFETY: attached; the caller's.
    unsafe { release(replaced) };
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
    let access = |fields: &mut Fields| {
        if fields.cancelled != truth(false) || fields.callback.is_null() {
            return None;
        }
        // The frame of a Python function holds the function: the callback may be replaced meanwhile.
        // SAFETY: the field's own reference keeps it alive.
        let owned = cfg!(Py_GIL_DISABLED) || !unsafe { is_function(fields.callback) };
        if owned {
            // SAFETY: attached; as above.
            unsafe { new_reference(fields.callback) };
        }
        if cfg!(Py_GIL_DISABLED) && !fields.context.is_null() {
            // SAFETY: attached; as above.
            unsafe { new_reference(fields.context) };
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
    };
    // SAFETY: runs no Python code; what `Call` owns has references of its own.
    unsafe { with(handle, access) }
}

/// As asyncio's `callback(*args)`: a new reference, or null with an exception set.
///
/// # Safety
///
/// `callback` is alive.
#[cold]
unsafe fn with_tuple(
    handle: &Bound<'_, Handle>,
    callback: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let py = handle.py();
    // SAFETY: attached; the caller's, and from here on it has a reference of our own.
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

/// Releases what `begin` kept, and the arguments where the handle was cancelled meanwhile.
///
/// # Safety
///
/// `call` was begun with this handle and not ended; it is not used afterwards.
#[inline]
unsafe fn end(handle: &Bound<'_, Handle>, call: &Call) {
    let access = |fields: &mut Fields| {
        fields.running = call.nested;
        (
            fields.cancelled != truth(false),
            !call.nested && std::mem::replace(&mut fields.awaited, false),
        )
    };
    // SAFETY: runs no Python code, and touches no reference.
    let (cancelled, awaited) = unsafe { with(handle, access) };
    if awaited {
        ENDED.announce();
    }
    if cancelled {
        let_go(handle, None);
    }
    if call.owned {
        // SAFETY: attached; the reference that `begin` made.
        unsafe { release(call.callback) };
    }
    if cfg!(Py_GIL_DISABLED) {
        // SAFETY: attached; null, or the reference that `begin` made.
        unsafe { release(call.context) };
    }
}

/// Waits, detached, until the callback does not run any more, where the handle was made for that.
pub(crate) fn wait_until_ended(handle: &Bound<'_, Handle>) {
    while handle.as_any().get_type_ptr() == THREAD_SAFE.object() {
        let seen = ENDED.count();
        let access = |fields: &mut Fields| {
            fields.awaited = fields.running;
            fields.awaited
        };
        // SAFETY: runs no Python code, and touches no reference.
        let runs = unsafe { with(handle, access) };
        if !runs {
            return;
        }
        handle.py().detach(|| ENDED.wait(seen));
    }
}

/// Where a handle keeps its inline arguments.
#[inline]
fn inline_arguments(handle: &Bound<'_, Handle>) -> *const *mut ffi::PyObject {
    // SAFETY: `Bound` keeps it alive.
    let place = unsafe { fields(handle.as_ptr()) };
    // SAFETY: the handle is alive; only the address is taken.
    unsafe { (&raw const (*place).arguments).cast() }
}
