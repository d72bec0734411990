//! What asyncio's slots of a handle hold: each an object under the name of the slot, or none.
//!
//! Ours are in the same places (`Fields`), so that asyncio's slot descriptors and our attributes see one and the same.

use std::mem::offset_of;
use std::ptr;

use pyo3::exceptions::{PyAttributeError, PyImportError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyType};

use super::class::{Layout, slots_of};
use super::handle_fields::{ELSEWHERE, Fields, Handle, INLINE, SLOTS, with};
use super::reference::{new_reference, owned, release};

/// One of the objects in place of asyncio's own slots.
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

/// Where each of them lies, and asyncio's name for it.
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

/// The object held, if there is one.
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

/// Puts another object in its place, or none. Arguments come in place of inline ones, too.
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
    // SAFETY: runs no Python code; what the fields owned is in `gone`.
    unsafe { with(handle, access) };
    // Released out here: a destructor may run any Python code, and look at this handle.
    for object in gone {
        // SAFETY: attached; a reference that a field owned, or null.
        unsafe { release(object) };
    }
}

/// The object held, after `value` was put where there was none.
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
    // SAFETY: runs no Python code; the field owns a reference of its own.
    let pointer = unsafe { with(handle, access) };
    // SAFETY: attached; a new reference made above.
    unsafe { owned(handle.py(), pointer) }
}

/// What a handle says when it lost a part.
#[cold]
pub(super) fn missing(handle: &Bound<'_, Handle>, name: &str) -> PyErr {
    let class = handle.as_any().get_type();
    let class = class
        .name()
        .map_or_else(|_| String::new(), |name| name.to_string());
    PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'"))
}

/// The object held; `AttributeError` where there is none.
pub(crate) fn expect_word<'py>(
    handle: &Bound<'py, Handle>,
    which: Word,
) -> PyResult<Bound<'py, PyAny>> {
    word(handle, which).ok_or_else(|| {
        let name = WORDS.iter().find(|(word, ..)| *word == which);
        missing(handle, name.map_or("", |(_, name, _)| name))
    })
}

/// The callback's arguments: a tuple, or whatever was set.
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
    // SAFETY: attached; new references made above.
    let all = all.map(|argument| unsafe { Bound::from_owned_ptr_or_opt(py, argument) });
    let all: Vec<_> = all.into_iter().take(count).flatten().collect();
    let all: Vec<_> = all.iter().map(Bound::as_borrowed).collect();
    super::make::tuple(py, &all).map(Bound::into_any)
}

/// When a timer is due, in seconds on the loop's clock, as it was given.
pub(crate) fn when<'py>(handle: &Bound<'py, Handle>) -> Bound<'py, PyAny> {
    // SAFETY: only looks.
    let when = unsafe { with(handle, |fields| fields.when) };
    word(handle, Word::When).unwrap_or_else(|| PyFloat::new(handle.py(), when).into_any())
}

/// Remembers where the handle was made (debug mode).
pub(crate) fn set_source_traceback(handle: &Bound<'_, Handle>, traceback: Bound<'_, PyAny>) {
    set_word(handle, Word::SourceTraceback, Some(traceback));
}

/// Where our fields go: over asyncio's own slots. Each word must be where asyncio's descriptor of that name leads, and
/// nothing else may be there.
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
    PyImportError::new_err("asyncio.Handle has another layout than yamanote was built for")
}
