//! Runs a handle: calls its callback in its context.

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
    reason = "every callback in the loop's turn is called here, except in debug mode"
)]
#[inline(always)]
pub(crate) fn run(handle: &Bound<'_, Handle>) -> PyResult<()> {
    let Some(call) = begin(handle) else {
        return Ok(());
    };
    if call.context.is_null() {
        // SAFETY: `begin` made the call, and it ends here.
        unsafe { end(handle, &call) };
        return Err(missing(handle, "_context"));
    }
    // SAFETY: `begin` made the call, with a context.
    let (result, replaced) = unsafe { call_inside(handle, &call) };
    if result.is_null() {
        // SAFETY: `begin` made the call, and it ends here; an exception is set, and this function owns `replaced`.
        return Err(unsafe { failed(handle, call, replaced) });
    }
    // SAFETY: `begin` made the call, and it ends here.
    unsafe { end(handle, &call) };
    // SAFETY: attached; null or a reference that this function owns, which is not used afterwards.
    unsafe { release(replaced) };
    // SAFETY: as above.
    unsafe { release(result) };
    Ok(())
}

/// Calls the callback in the context. Returns a new reference, or null with an exception set; and the context or
/// null, which the caller releases when the call has ended. These are pointers, because a `PyResult` would be passed
/// through memory.
///
/// # Safety
///
/// `begin` returned `call` for this handle, `end` has not been called with it, and it has a context.
#[expect(clippy::inline_always, reason = "see `run`")]
#[inline(always)]
unsafe fn call_inside(
    handle: &Bound<'_, Handle>,
    call: &Call,
) -> (*mut ffi::PyObject, *mut ffi::PyObject) {
    let py = handle.py();
    // SAFETY: attached. The context is alive when it is entered: `begin` took a reference, or the handle has one and
    // no Python code has run since. From then until the exit, the thread has a reference, and for the exit `replaced`
    // has one.
    let context = unsafe { borrowed::<PyAny>(py, &call.context) };
    let Some(entered) = Entered::enter(context) else {
        return (ptr::null_mut(), ptr::null_mut());
    };
    let result = if call.count == ELSEWHERE {
        // SAFETY: `begin` keeps it alive, or the handle does and no Python code has run since.
        unsafe { with_tuple(handle, call.callback) }
    } else {
        let count = usize::from(call.count) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: attached; `begin` keeps callback and arguments alive, and the callee may overwrite `scratch`, the
        // slot in front of the inline arguments, as the flag says.
        unsafe { vectorcall(call.callback, inline_arguments(handle), count) }
    };
    // SAFETY: only reads.
    let replaced = if unsafe { with(handle, |fields| fields.context) } == call.context {
        ptr::null_mut()
    } else {
        // SAFETY: attached; the thread has entered the context, which keeps it alive.
        unsafe { new_reference(call.context) }
    };
    if entered.leave() {
        return (result, replaced);
    }
    // SAFETY: attached; null or the call's new reference, which is not used afterwards.
    unsafe { release(result) };
    (ptr::null_mut(), replaced)
}

/// Ends the call and returns the exception that is set.
///
/// # Safety
///
/// `begin` returned `call` for this handle and `end` has not been called with it; an exception is set; `replaced` is
/// null or a reference that the caller gives up.
#[cold]
unsafe fn failed(handle: &Bound<'_, Handle>, call: Call, replaced: *mut ffi::PyObject) -> PyErr {
    let error = PyErr::fetch(handle.py());
    // SAFETY: guaranteed by the caller.
    unsafe { end(handle, &call) };
    // SAFETY: attached; the caller gives the reference up.
    unsafe { release(replaced) };
    error
}

/// What is called; kept alive until `end`.
#[derive(Clone, Copy)]
struct Call {
    callback: *mut ffi::PyObject,
    /// The handle's context, or null. Borrowed with the GIL, owned without.
    context: *mut ffi::PyObject,
    /// The number of inline arguments, or `ELSEWHERE`.
    count: u8,
    /// Whether the call owns a reference to the callback.
    owned: bool,
    /// Whether the handle runs inside its own callback.
    nested: bool,
}

/// Starts a call; returns `None` if the handle was cancelled.
#[inline]
fn begin(handle: &Bound<'_, Handle>) -> Option<Call> {
    let access = |fields: &mut Fields| {
        if fields.cancelled != truth(false) || fields.callback.is_null() {
            return None;
        }
        // The frame of a Python function keeps the function alive, even if the callback is replaced meanwhile.
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
    // SAFETY: runs no Python code; what `Call` owns has its own references.
    unsafe { with(handle, access) }
}

/// Calls `callback(*args)` as asyncio does. Returns a new reference, or null with an exception set.
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
    // SAFETY: attached; alive, as the caller guarantees, and from here on this function has its own reference.
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

/// Releases what `begin` kept, and the arguments if the handle was cancelled meanwhile.
///
/// # Safety
///
/// `begin` returned `call` for this handle and `end` has not been called with it; it is not used afterwards.
#[inline]
unsafe fn end(handle: &Bound<'_, Handle>, call: &Call) {
    let access = |fields: &mut Fields| {
        fields.running = call.nested;
        (
            fields.cancelled != truth(false),
            !call.nested && std::mem::replace(&mut fields.awaited, false),
        )
    };
    // SAFETY: runs no Python code, and takes no reference.
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

/// Waits, detached, until the callback is not running, if the handle's kind requires it.
pub(crate) fn wait_until_ended(handle: &Bound<'_, Handle>) {
    while handle.as_any().get_type_ptr() == THREAD_SAFE.object() {
        let seen = ENDED.count();
        let access = |fields: &mut Fields| {
            fields.awaited = fields.running;
            fields.awaited
        };
        // SAFETY: runs no Python code, and takes no reference.
        let runs = unsafe { with(handle, access) };
        if !runs {
            return;
        }
        handle.py().detach(|| ENDED.wait(seen));
    }
}

/// The address of a handle's inline arguments.
#[inline]
fn inline_arguments(handle: &Bound<'_, Handle>) -> *const *mut ffi::PyObject {
    // SAFETY: `Bound` keeps it alive.
    let place = unsafe { fields(handle.as_ptr()) };
    // SAFETY: the handle is alive; this only takes an address.
    unsafe { (&raw const (*place).arguments).cast() }
}
