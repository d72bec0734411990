//! A handle that is not to run, or not in the loop's heap any more.

use std::ptr;

use pyo3::prelude::*;

use super::handle_fields::{ELSEWHERE, Fields, Handle, INLINE, with};
use super::handle_words::{Word, set_word};
use super::reference::{new_none, new_truth, release, truth};

/// Keeps the callback from running; `false` when that was done before.
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
    // SAFETY: runs no Python code; what the field owned goes to the caller.
    let Some(before) = (unsafe { with(handle, access) }) else {
        return false;
    };
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(before) };
    true
}

/// Lets go of callback and arguments of a cancelled handle, called once or again. `repr`, given once, is what
/// it shows itself as from now on.
pub(crate) fn let_go(handle: &Bound<'_, Handle>, repr: Option<Bound<'_, PyAny>>) {
    if let Some(repr) = repr {
        set_word(handle, Word::Repr, Some(repr));
    }
    let py = handle.py();
    let access = |fields: &mut Fields| {
        let inline = if fields.running {
            fields.count = ELSEWHERE;
            [ptr::null_mut(); INLINE] // `run` comes back to them.
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
    // SAFETY: runs no Python code; what the fields owned goes to the caller.
    let (callback, args, inline) = unsafe { with(handle, access) };
    // Released out here: a destructor may run any Python code, and look at this handle.
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
    // SAFETY: only looks.
    unsafe { with(handle, |fields| fields.cancelled != truth(false)) }
}

/// Whether a timer waits in the loop's heap.
pub(crate) fn is_queued(handle: &Bound<'_, Handle>) -> bool {
    // SAFETY: only looks.
    unsafe { with(handle, |fields| fields.queued) }
}

/// Notes that a timer left the loop's heap.
pub(crate) fn set_unscheduled(handle: &Bound<'_, Handle>) {
    let py = handle.py();
    let access = |fields: &mut Fields| {
        fields.queued = false;
        std::mem::replace(&mut fields.scheduled, new_truth(py, false))
    };
    // SAFETY: runs no Python code; what the field owned goes to the caller.
    let before = unsafe { with(handle, access) };
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(before) };
}
