//! The classes of handles, and the functions that the interpreter calls on their instances.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::class::{self, slot};
use super::handle_cancel::{cancel, let_go};
use super::handle_fields::{Handle, HandleKind, fields};
use super::handle_memory as memory;
use super::handle_words::{Word, layout, set_word};
use super::method::Members;
use super::nesting::deallocate;
use super::reference::{borrowed, release};

/// Creates the class of one kind.
pub(super) fn make<'py>(
    name: &'static CStr,
    base: &Bound<'py, PyType>,
    members: Members,
    kind: HandleKind,
) -> PyResult<Bound<'py, PyType>> {
    let class = kind.class();
    if !class.object().is_null() {
        // An earlier import made it, and failed afterwards.
        // SAFETY: attached; published below, and never freed.
        let made = unsafe { Bound::from_borrowed_ptr(base.py(), class.object().cast()) };
        return Ok(made.cast_into::<PyType>()?);
    }
    let layout = layout(base)?;
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
    ];
    let made = class::make(
        name,
        c"A callback that the loop will run.",
        base,
        &layout,
        slots,
        members,
    )?;
    let made = made.cast_into::<PyType>()?;
    // The class is never freed, because its method definitions are not either.
    // SAFETY: made above, with this layout.
    unsafe { class.publish(made.clone().into_ptr().cast(), layout.value) };
    Ok(made)
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this with a complete handle whose count has dropped to zero.
    unsafe { deallocate(object, free) };
}

/// # Safety
///
/// The thread is attached; `object` is a complete handle whose count has dropped to zero.
#[inline]
unsafe fn free(object: *mut ffi::PyObject) {
    // SAFETY: guaranteed by the caller.
    let place = unsafe { fields(object) };
    // SAFETY: as above.
    if unsafe { (*place).tracked } {
        // SAFETY: as above, and tracked.
        unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    }
    // SAFETY: guaranteed by the caller.
    if unsafe { has_weak_references(object) } {
        // SAFETY: live memory of an instance, attached.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
    // SAFETY: no other code can reach the fields any more.
    let fields = unsafe { &*place };
    // In the same order as asyncio's.
    for argument in fields.inline() {
        // SAFETY: attached; the handle owns it, or it is null, and it is not used afterwards. The same holds for what
        // follows.
        unsafe { release(*argument) };
    }
    if let Some(rare) = fields.rare() {
        for object in rare {
            // SAFETY: as above.
            unsafe { release(object) };
        }
    }
    // SAFETY: as above.
    unsafe { release(fields.callback) };
    // SAFETY: as above.
    unsafe { release(fields.context) };
    // SAFETY: as above.
    unsafe { release(fields.event_loop) };
    // SAFETY: as above.
    unsafe { release(fields.cancelled) };
    // SAFETY: as above.
    unsafe { release(fields.scheduled) };
    // SAFETY: attached; untracked above, and everything that it owned has been released.
    unsafe { memory::give_back(object) };
}

/// Whether there is a weak reference. This check costs less than clearing an empty list.
///
/// # Safety
///
/// The thread is attached; `handle` is the memory of a handle whose count has dropped to zero.
unsafe fn has_weak_references(handle: *mut ffi::PyObject) -> bool {
    // SAFETY: live memory of an instance, as the caller guarantees.
    let class = unsafe { ffi::Py_TYPE(handle) };
    // SAFETY: a live type.
    let offset = unsafe { (*class).tp_weaklistoffset };
    // SAFETY: by its definition, the offset leads to the list's head within the object's allocation.
    let list = unsafe { handle.byte_offset(offset) }.cast::<*mut ffi::PyObject>();
    // SAFETY: as above; the count has dropped to zero, so no other code writes it.
    !unsafe { list.read() }.is_null()
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector only tracks complete handles.
    let fields = unsafe { fields(object) };
    // SAFETY: as above, and no code changes them during the traversal.
    let fields = unsafe { &*fields };
    // The class is left out, because it is never freed.
    let result = fields.objects(|object| {
        // SAFETY: the collector's own function with its own argument, and a live object.
        let result = unsafe { visit(object.as_ptr(), argument) };
        if result == 0 { Ok(()) } else { Err(result) }
    });
    result.err().unwrap_or(0)
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // Released without PyO3, which then need not know that the thread is attached.
    // SAFETY: the interpreter calls this while attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the collector calls this with a live handle.
    let handle = unsafe { borrowed::<Handle>(py, &object) };
    cancel(handle);
    let_go(handle, None);
    for word in [
        Word::Context,
        Word::Loop,
        Word::Repr,
        Word::SourceTraceback,
        Word::Scheduled,
        Word::When,
    ] {
        set_word(handle, word, None);
    }
    0
}
