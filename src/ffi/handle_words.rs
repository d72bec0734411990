//! The objects in asyncio's slots of a handle, each under the name of its slot.
//!
//! This crate's fields (`Fields`) are in the same places, so asyncio's slot descriptors and this crate's attributes
//! access the same objects.

use std::mem::offset_of;
use std::ptr;

use pyo3::exceptions::{PyAttributeError, PyImportError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyType};

use super::class::{Layout, slots_of};
use super::handle_fields::{ELSEWHERE, Fields, Handle, INLINE, SLOTS, with};
use super::reference::{new_reference, owned, release};

/// One of the objects in the places of asyncio's own slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Args,
    Callback,
    Cancelled,
    Context,
    Loop,
    Repr,
    SourceTraceback,
    Scheduled,
    When,
    Lock,
}

/// The offset of each, and asyncio's name for it.
const WORDS: [(Word, &str, usize); 10] = [
    (Word::Args, "_args", offset_of!(Fields, args)),
    (Word::Callback, "_callback", offset_of!(Fields, callback)),
    (Word::Cancelled, "_cancelled", offset_of!(Fields, cancelled)),
    (Word::Context, "_context", offset_of!(Fields, context)),
    (Word::Loop, "_loop", offset_of!(Fields, event_loop)),
    (Word::Repr, "_repr", offset_of!(Fields, repr)),
    (
        Word::SourceTraceback,
        "_source_traceback",
        offset_of!(Fields, source_traceback),
    ),
    (Word::Scheduled, "_scheduled", offset_of!(Fields, scheduled)),
    (Word::When, "_when", offset_of!(Fields, given_when)),
    (Word::Lock, "_lock", offset_of!(Fields, scheduled)),
];

impl Fields {
    fn word(&mut self, word: Word) -> &mut *mut ffi::PyObject {
        match word {
            Word::Args => &mut self.args,
            Word::Callback => &mut self.callback,
            Word::Cancelled => &mut self.cancelled,
            Word::Context => &mut self.context,
            Word::Loop => &mut self.event_loop,
            Word::Repr => &mut self.repr,
            Word::SourceTraceback => &mut self.source_traceback,
            Word::Scheduled | Word::Lock => &mut self.scheduled,
            Word::When => &mut self.given_when,
        }
    }
}

/// The object in the slot, if any.
pub(crate) fn word<'py>(handle: &Bound<'py, Handle>, word: Word) -> Option<Bound<'py, PyAny>> {
    let access = |fields: &mut Fields| {
        let pointer = *fields.word(word);
        if !pointer.is_null() {
            // SAFETY: attached; the field's own reference keeps it alive.
            unsafe { new_reference(pointer) };
        }
        pointer
    };
    // SAFETY: runs no Python code, and changes nothing.
    let pointer = unsafe { with(handle, access) };
    // SAFETY: attached; a new reference or null.
    unsafe { Bound::from_owned_ptr_or_opt(handle.py(), pointer) }
}

/// Replaces the object in the slot, or empties it for `None`. Setting the arguments also replaces inline ones.
pub(crate) fn set_word(handle: &Bound<'_, Handle>, word: Word, value: Option<Bound<'_, PyAny>>) {
    let mut gone = [ptr::null_mut(); INLINE + 1];
    let access = |fields: &mut Fields| {
        let value = value.map_or_else(ptr::null_mut, Bound::into_ptr);
        gone[INLINE] = std::mem::replace(fields.word(word), value);
        if word == Word::Args {
            fields.count = ELSEWHERE;
            if !fields.running {
                gone[..INLINE].copy_from_slice(&fields.arguments);
                fields.arguments = [ptr::null_mut(); INLINE];
            }
        }
    };
    // SAFETY: runs no Python code; `gone` holds what the fields owned.
    unsafe { with(handle, access) };
    // Released outside of `with`: a destructor may run any Python code, and use this handle.
    for object in gone {
        // SAFETY: attached; a reference that a field owned, or null.
        unsafe { release(object) };
    }
}

/// Returns the object in the slot, after storing `value` there if the slot was empty.
pub(crate) fn word_or_insert<'py>(
    handle: &Bound<'py, Handle>,
    which: Word,
    value: Bound<'py, PyAny>,
) -> Bound<'py, PyAny> {
    let access = |fields: &mut Fields| {
        let place = fields.word(which);
        if place.is_null() {
            // SAFETY: attached; `value` is alive.
            *place = unsafe { new_reference(value.as_ptr()) };
        }
        // SAFETY: attached; the field's own reference keeps it alive.
        unsafe { new_reference(*place) }
    };
    // SAFETY: runs no Python code; the field owns its own reference.
    let pointer = unsafe { with(handle, access) };
    // SAFETY: attached; a new reference made above.
    unsafe { owned(handle.py(), pointer) }
}

/// The error for a handle that lost a part.
#[cold]
pub(super) fn missing(handle: &Bound<'_, Handle>, name: &str) -> PyErr {
    let class = handle.as_any().get_type();
    let class = class
        .name()
        .map_or_else(|_| String::new(), |name| name.to_string());
    PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'"))
}

/// The object in the slot; `AttributeError` if there is none.
pub(crate) fn expect_word<'py>(
    handle: &Bound<'py, Handle>,
    which: Word,
) -> PyResult<Bound<'py, PyAny>> {
    word(handle, which).ok_or_else(|| {
        let name = WORDS.iter().find(|(word, ..)| *word == which);
        missing(handle, name.map_or("", |(_, name, _)| name))
    })
}

/// The callback's arguments: a tuple, or any object that was set.
pub(crate) fn arguments<'py>(handle: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
    let py = handle.py();
    let mut all = [ptr::null_mut(); INLINE];
    let access = |fields: &mut Fields| {
        if !fields.args.is_null() || fields.count == ELSEWHERE {
            return None;
        }
        let count = usize::from(fields.count);
        for (copy, argument) in all.iter_mut().zip(&fields.arguments[..count]) {
            // SAFETY: attached; the field's own reference keeps it alive, and the first `count` are not null.
            *copy = unsafe { new_reference(*argument) };
        }
        Some(count)
    };
    // SAFETY: runs no Python code, and changes nothing.
    let count = unsafe { with(handle, access) };
    let Some(count) = count else {
        return expect_word(handle, Word::Args);
    };
    // SAFETY: attached; these are the new references made above.
    let all = all.map(|argument| unsafe { Bound::from_owned_ptr_or_opt(py, argument) });
    let all: Vec<_> = all.into_iter().take(count).flatten().collect();
    let all: Vec<_> = all.iter().map(Bound::as_borrowed).collect();
    super::make::tuple(py, &all).map(Bound::into_any)
}

/// When a timer is due, in seconds on the loop's clock, as it was passed.
pub(crate) fn when<'py>(handle: &Bound<'py, Handle>) -> Bound<'py, PyAny> {
    // SAFETY: only reads.
    let when = unsafe { with(handle, |fields| fields.when) };
    word(handle, Word::When).unwrap_or_else(|| PyFloat::new(handle.py(), when).into_any())
}

/// Records where the handle was created (debug mode).
pub(crate) fn set_source_traceback(handle: &Bound<'_, Handle>, traceback: Bound<'_, PyAny>) {
    set_word(handle, Word::SourceTraceback, Some(traceback));
}

/// The layout of our fields, which lie over asyncio's own slots. Each word must be where asyncio's descriptor of that
/// name points, and nothing else may be there.
pub(super) fn layout(base: &Bound<'_, PyType>) -> PyResult<Layout> {
    let layout = Layout::over::<Fields>(base, SLOTS)?;
    let mut end = SLOTS + offset_of!(Fields, scheduled);
    for class in base.mro() {
        let class = class.cast_into::<PyType>()?;
        for (name, offset) in slots_of(&class)? {
            let known = WORDS
                .iter()
                .any(|(_, known, place)| *known == name && SLOTS + place == offset);
            if !known {
                return Err(other_layout());
            }
            end = end.max(offset + size_of::<usize>());
        }
    }
    let basic_size: usize = base.getattr("__basicsize__")?.extract()?;
    let weak_references: isize = base.getattr("__weakrefoffset__")?.extract()?;
    if basic_size == end && are_weak_references_elsewhere(weak_references) {
        return Ok(layout);
    }
    Err(other_layout())
}

#[cfg(Py_3_12)]
fn are_weak_references_elsewhere(offset: isize) -> bool {
    offset < 0
}

#[cfg(not(Py_3_12))]
fn are_weak_references_elsewhere(offset: isize) -> bool {
    offset == (SLOTS + offset_of!(Fields, weak_references)).cast_signed()
}

fn other_layout() -> PyErr {
    PyImportError::new_err("asyncio.Handle does not have the layout that yamanote was built for")
}
