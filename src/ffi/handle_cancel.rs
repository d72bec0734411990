//! Cancelling a handle, and taking it off the loop's heap.

use std::ptr;

use pyo3::prelude::*;

use super::handle_fields::{ELSEWHERE, Fields, Handle, INLINE, with};
use super::handle_words::{Word, set_word};
use super::reference::{new_none, new_truth, release, truth};

/// Keeps the callback from running. Returns `false` if the handle was cancelled before.
pub(crate) fn cancel(handle: &Bound<'_, Handle>) -> bool {
    let py = handle.py();
    let access = |fields: &mut Fields| {
        if fields.cancelled == truth(true) {
            return None;
        }
        Some(std::mem::replace(
            &mut fields.cancelled,
            new_truth(py, true),
        ))
    };
    // SAFETY: runs no Python code; the caller gets the reference that the field owned.
    let Some(before) = (unsafe { with(handle, access) }) else {
        return false;
    };
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(before) };
    true
}

/// Releases callback and arguments of a cancelled handle; may be called more than once. `repr`, if given, is what the
/// handle's `repr()` shows from now on.
pub(crate) fn let_go(handle: &Bound<'_, Handle>, repr: Option<Bound<'_, PyAny>>) {
    if let Some(repr) = repr {
        set_word(handle, Word::Repr, Some(repr));
    }
    let py = handle.py();
    let access = |fields: &mut Fields| {
        let inline = if fields.running {
            fields.count = ELSEWHERE;
            [ptr::null_mut(); INLINE] // `run` still needs them.
        } else {
            fields.count = 0;
            std::mem::replace(&mut fields.arguments, [ptr::null_mut(); INLINE])
        };
        (
            std::mem::replace(&mut fields.callback, new_none(py)),
            std::mem::replace(&mut fields.args, new_none(py)),
            inline,
        )
    };
    // SAFETY: runs no Python code; the caller gets the references that the fields owned.
    let (callback, args, inline) = unsafe { with(handle, access) };
    // Released outside of `with`: a destructor may run any Python code, and use this handle.
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(callback) };
    // SAFETY: as above.
    unsafe { release(args) };
    for argument in inline {
        // SAFETY: as above.
        unsafe { release(argument) };
    }
}

/// Whether the handle was cancelled.
#[inline]
pub(crate) fn is_cancelled(handle: &Bound<'_, Handle>) -> bool {
    // SAFETY: only reads.
    unsafe { with(handle, |fields| fields.cancelled != truth(false)) }
}

/// Whether a timer is in the loop's heap.
pub(crate) fn is_queued(handle: &Bound<'_, Handle>) -> bool {
    // SAFETY: only reads.
    unsafe { with(handle, |fields| fields.queued) }
}

/// Records that a timer left the loop's heap.
pub(crate) fn set_unscheduled(handle: &Bound<'_, Handle>) {
    let py = handle.py();
    let access = |fields: &mut Fields| {
        fields.queued = false;
        std::mem::replace(&mut fields.scheduled, new_truth(py, false))
    };
    // SAFETY: runs no Python code; the caller gets the reference that the field owned.
    let before = unsafe { with(handle, access) };
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(before) };
}
