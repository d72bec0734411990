//! Gives instances of a Python class an empty subclass of it, which may have native methods.
//!
//! The subclass has `__slots__ = ()`, so its instances have the base's layout, and assigning `__class__` is allowed.
//! The assignment also gives an instance a dict of its own; [`fields`] returns it.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyType};

use super::class::{NativeClass, dict_of};
use super::names::name;
use super::reference::{owned, returned};
use super::{call, make};

/// A subclass of `base` with its name, module and documentation, and with nothing else but `more`.
pub(crate) fn derive<'py>(
    base: &Bound<'py, PyType>,
    more: &[(&str, Bound<'py, PyAny>)],
) -> PyResult<Bound<'py, PyType>> {
    let py = base.py();
    let contents = make::dict(py)?;
    contents.set_item(make::string(py, "__slots__")?, make::tuple(py, &[])?)?;
    for name in ["__module__", "__qualname__", "__doc__"] {
        let name = make::string(py, name)?;
        contents.set_item(&name, base.getattr(&name)?)?;
    }
    for (name, value) in more {
        contents.set_item(make::string(py, name)?, value)?;
    }
    let made = py
        .get_type::<PyType>()
        .call1((base.name()?, (base,), contents))?;
    Ok(made.cast_into()?)
}

/// Assigns `__class__` as `object` does, whatever attribute of that name the instance's class has.
pub(crate) fn set_class(object: &Bound<'_, PyAny>, class: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let base = py.get_type::<PyAny>();
    let attribute = base.getattr(make::string(py, "__dict__")?)?;
    let attribute = attribute.get_item(name!(py, "__class__"))?;
    attribute
        .call_method1(make::string(py, "__set__")?, (object, class))
        .map(drop)
}

/// The instance's dict: what Python code sees as `vars(object)`.
#[inline]
pub(crate) fn fields<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: attached; a live object. Returns a new reference to its dict, or null with an exception set.
    let found = unsafe { ffi::PyObject_GenericGetDict(object.as_ptr(), ptr::null_mut()) };
    // SAFETY: as above.
    let found = unsafe { returned(object.py(), found) }?;
    // SAFETY: the interpreter accepts only a `dict` as `__dict__`.
    Ok(unsafe { owned(object.py(), found.into_ptr()) })
}

/// A number that changes whenever the class or one of its bases is changed; 0 when the interpreter keeps none.
#[inline]
pub(crate) fn version(class: &Bound<'_, PyType>) -> u32 {
    let class = class.as_type_ptr();
    // SAFETY: a live type; this only takes an address.
    let tag = unsafe { &raw mut (*class).tp_version_tag };
    // SAFETY: aligned and alive as long as the type; other threads may only write it atomically, or with the GIL.
    unsafe { AtomicU32::from_ptr(tag) }.load(Ordering::Acquire)
}

/// The `self` of the Python function that runs now, if its code is `code`.
pub(crate) fn running_self<'py>(code: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = code.py();
    // SAFETY: attached. A borrowed reference to this thread's frame, which outlives this call, or null.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    if frame.is_null() {
        return Ok(None);
    }
    // SAFETY: attached; a live object.
    let frame = unsafe { Bound::from_borrowed_ptr(py, frame.cast()) };
    if !frame.getattr(name!(py, "f_code"))?.is(code) {
        return Ok(None);
    }
    let locals = frame.getattr(name!(py, "f_locals"))?;
    locals.get_item(name!(py, "self")).map(Some)
}

/// Whether the instance has no attributes of its own, so that its methods are those of its class.
#[inline]
pub(crate) fn has_no_fields<T: NativeClass>(object: &Bound<'_, T>) -> bool {
    // SAFETY: a live instance of `T`'s class.
    unsafe { dict_of::<T>(object.as_ptr()) }.is_none_or(|place| {
        // SAFETY: a pointer within the instance, which the interpreter only sets while attached.
        let place = unsafe { AtomicPtr::from_ptr(place) };
        place.load(Ordering::Acquire).is_null()
    })
}

/// Whether `object` and one other place are all that refer to it. Never on free-threaded builds, which split counts.
#[inline]
pub(crate) fn is_held_once_more(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    cfg!(not(Py_GIL_DISABLED)) && unsafe { ffi::Py_REFCNT(object.as_ptr()) } == 2
}

/// Removes the first `count` bytes, without moving the others. Returns `BufferError` if a `memoryview` pins the size.
pub(crate) fn drop_front(array: &Bound<'_, PyByteArray>, count: usize) -> PyResult<()> {
    if count == 0 {
        return Ok(());
    }
    if count == array.len() {
        return array.resize(0);
    }
    // SAFETY: attached; a live sequence.
    let done = unsafe { ffi::PySequence_DelSlice(array.as_ptr(), 0, count.cast_signed()) };
    if done < 0 {
        return Err(PyErr::fetch(array.py()));
    }
    Ok(())
}

/// Calls `look` with the contents of a `bytearray`.
///
/// `look` must not run Python code: it gets no `Python`, and this thread stays attached.
#[inline]
pub(crate) fn with_contents<R>(array: &Bound<'_, PyByteArray>, look: impl FnOnce(&[u8]) -> R) -> R {
    pyo3::sync::critical_section::with_critical_section(array, || {
        // SAFETY: nothing resizes or writes it meanwhile: with the GIL because this thread keeps it, without it
        // because of the critical section, which the methods of `bytearray` enter, too.
        look(unsafe { array.as_bytes() })
    })
}

/// The exception that the running code handles, as `sys.exception()` returns it.
pub(crate) fn handled(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: attached; returns a new reference, or null without an exception set.
    let handled = unsafe { ffi::PyErr_GetHandledException() };
    // SAFETY: attached; as above.
    unsafe { Bound::from_owned_ptr_or_opt(py, handled) }
}

/// Sends `None` to an iterator: the yielded value, or the returned one.
pub(crate) fn resume<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<super::Step<'py>> {
    let py = iterator.py();
    let mut result = ptr::null_mut();
    let none = py.None();
    // SAFETY: attached; live objects, and a place for the result.
    let outcome = unsafe { ffi::PyIter_Send(iterator.as_ptr(), none.as_ptr(), &raw mut result) };
    match outcome {
        // SAFETY: a new reference.
        ffi::PySendResult::PYGEN_NEXT => Ok(super::Step::Wait(unsafe { owned(py, result) })),
        // SAFETY: a new reference.
        ffi::PySendResult::PYGEN_RETURN => Ok(super::Step::Done(unsafe { owned(py, result) })),
        ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
    }
}

/// Throws into a coroutine: the object it waits for next, or the returned value.
pub(crate) fn throw<'py>(
    coroutine: &Bound<'py, PyAny>,
    error: PyErr,
) -> PyResult<super::Step<'py>> {
    let py = coroutine.py();
    let error = error.into_value(py).into_bound(py).into_any();
    match call::method(coroutine, name!(py, "throw"), [&error]) {
        Ok(object) => Ok(super::Step::Wait(object)),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let value = error.value(py).getattr(name!(py, "value"))?;
            Ok(super::Step::Done(value))
        }
        Err(error) => Err(error),
    }
}
