//! `pyo3::ffi`: capsules, and whether the thread is attached.

#![allow(non_snake_case, clippy::missing_safety_doc, reason = "as in CPython")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

pub use crate::object::Object as PyObject;
use crate::object::{PyAny, Value};
use crate::reference::Py;
use crate::token::{Python, is_attached};

pub unsafe fn PyCapsule_New(
    pointer: *mut c_void,
    name: *const c_char,
    _destructor: Option<unsafe extern "C" fn(*mut PyObject)>,
) -> *mut PyObject {
    // SAFETY: a text that lives as long as the process, as the only caller's does.
    let name = unsafe { CStr::from_ptr(name) };
    let capsule = Py::<PyAny>::of(Value::Capsule(name, pointer));
    capsule.into_bound(Python::token()).into_ptr()
}

pub unsafe fn PyCapsule_IsValid(object: *mut PyObject, name: *const c_char) -> c_int {
    // SAFETY: alive, as the caller guarantees.
    let object = unsafe { &*object };
    // SAFETY: a text, as the caller guarantees.
    let name = unsafe { CStr::from_ptr(name) };
    c_int::from(matches!(&object.value, Value::Capsule(known, _) if *known == name))
}

pub unsafe fn PyCapsule_GetPointer(object: *mut PyObject, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's.
    if unsafe { PyCapsule_IsValid(object, name) } == 0 {
        return ptr::null_mut();
    }
    // SAFETY: alive, as the caller guarantees.
    match unsafe { &(*object).value } {
        Value::Capsule(_, pointer) => *pointer,
        _ => ptr::null_mut(),
    }
}

pub unsafe fn PyGILState_Check() -> c_int {
    c_int::from(is_attached())
}
