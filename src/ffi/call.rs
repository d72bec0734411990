//! Calls by vectorcall, without argument tuples.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::reference::returned;

/// Calls `object.name(*arguments)` without creating a bound method.
#[inline]
pub(crate) fn method<'py, const N: usize>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let mut stack = [std::ptr::null_mut(); MAX_METHOD_ARGUMENTS + 2];
    stack[1] = object.as_ptr();
    for (slot, argument) in stack[2..].iter_mut().zip(arguments) {
        *slot = argument.as_ptr();
    }
    const { assert!(N <= MAX_METHOD_ARGUMENTS, "widen the stack") };
    let count = (N + 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: attached by `object`; `stack[1..N + 2]` holds live borrowed references, and the callee may overwrite
    // `stack[0]`, as the offset flag says; no keywords.
    let result = unsafe {
        ffi::PyObject_VectorcallMethod(
            name.as_ptr(),
            stack[1..].as_ptr(),
            count,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(object.py(), result) }
}

/// Calls `callable(*arguments)`.
#[inline]
pub(crate) fn function<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = arguments.map(|argument| Some(argument.as_borrowed()));
    // `Option<Borrowed>` is a nullable pointer, and none of these is null.
    let stack = arguments.as_ptr().cast();
    // SAFETY: attached by `callable`; the array holds `N` live borrowed references.
    let result = unsafe { vectorcall(callable.as_ptr(), stack, N) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(callable.py(), result) }
}

/// Calls `callable(*arguments)` through the slot that `PyObject_Vectorcall` would look up.
///
/// That function also looks up the thread state, and checks afterwards that the callee returned either a result or an
/// exception. This one trusts the callee; for null without an exception, [`returned`] raises `SystemError`.
///
/// # Safety
///
/// The thread is attached. `callable` is alive, and `arguments` points at as many live objects as `count` says. If
/// `count` has `PY_VECTORCALL_ARGUMENTS_OFFSET`, the callee may write to the slot in front of them.
#[inline]
pub(super) unsafe fn vectorcall(
    callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
) -> *mut ffi::PyObject {
    // SAFETY: a live object, as the caller guarantees.
    let class = unsafe { ffi::Py_TYPE(callable) };
    // SAFETY: the class of a live object.
    if unsafe { ffi::PyType_HasFeature(class, ffi::Py_TPFLAGS_HAVE_VECTORCALL) } != 0 {
        // SAFETY: as above.
        let offset = unsafe { (*class).tp_vectorcall_offset };
        // SAFETY: with that flag, the offset leads to the slot within every instance.
        let place = unsafe { callable.byte_offset(offset) }.cast::<Option<ffi::vectorcallfunc>>();
        // SAFETY: as above; a function or null.
        if let Some(call) = unsafe { place.read() } {
            // SAFETY: the caller guarantees the arguments; no keywords.
            return unsafe { call(callable, arguments, count, std::ptr::null_mut()) };
        }
    }
    // SAFETY: the caller guarantees the arguments; no keywords.
    unsafe { ffi::PyObject_Vectorcall(callable, arguments, count, std::ptr::null_mut()) }
}

/// Calls `callable(*positional, **dict(zip(names, values)))`; `arguments` holds the positional ones, then the values.
#[inline]
pub(crate) fn with_keywords<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &[Option<Borrowed<'_, 'py, PyAny>>],
    names: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let given = arguments.iter().flatten().count();
    assert!(
        given == arguments.len() && given >= names.len(),
        "every argument is there"
    );
    let positional = given - names.len();
    // `Option<Borrowed>` is a nullable pointer, and none of these is null.
    let stack = arguments.as_ptr().cast();
    // SAFETY: attached by `callable`; the slice holds `positional` + `names.len()` live borrowed references, as
    // asserted above.
    let result =
        unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), stack, positional, names.as_ptr()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(callable.py(), result) }
}

/// Whether `object.name(…)` would call `function`, that is, neither the class nor the object replaced it. Creates no
/// bound method.
#[inline]
pub(crate) fn is_method(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    function: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let found = unbound_method(object, name)?;
    Ok(found.is_some_and(|found| found.is(function)))
}

/// The function or method descriptor that `object.name(…)` would call with the object; `None` if it would call
/// something else.
#[inline]
pub(crate) fn unbound_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut found = std::ptr::null_mut();
    // SAFETY: attached by `object`; both objects are alive, `name` is a string, and `found` is a local for the
    // result.
    let is_unbound = unsafe { _PyObject_GetMethod(object.as_ptr(), name.as_ptr(), &raw mut found) };
    // SAFETY: attached; a new reference, or null with an exception set.
    let found = unsafe { returned(object.py(), found) }?;
    Ok((is_unbound == 1).then_some(found))
}

const MAX_METHOD_ARGUMENTS: usize = 2;

// CPython's and Cython's method calls begin with this function. It is private, but every version from 3.11 to 3.15
// exports it. Returns 1 for a function of the class that is yet to be bound, 0 for any other attribute.
unsafe extern "C" {
    fn _PyObject_GetMethod(
        object: *mut ffi::PyObject,
        name: *mut ffi::PyObject,
        found: *mut *mut ffi::PyObject,
    ) -> std::ffi::c_int;
}
