//! Calls by vectorcall, without argument tuples.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::reference::returned;

/// `object.name(*arguments)`, without making a bound method.
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
    // SAFETY: attached by `object`; `stack[1..N + 2]` holds live borrowed references, `stack[0]` is ours to be
    // scribbled on as the offset flag says; no keywords.
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

/// `callable(*arguments)`.
#[inline]
pub(crate) fn function<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = arguments.map(|argument| Some(argument.as_borrowed()));
    // `Option<Borrowed>` is a pointer that may be null, and none is.
    let stack = arguments.as_ptr().cast();
    // SAFETY: attached by `callable`; the array holds `N` live borrowed references; no keywords.
    let result =
        unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), stack, N, std::ptr::null_mut()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(callable.py(), result) }
}

/// `callable(*positional, **dict(zip(names, values)))`, with `arguments` the positional ones and then the values.
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
    // `Option<Borrowed>` is a pointer that may be null, and none is.
    let stack = arguments.as_ptr().cast();
    // SAFETY: attached by `callable`; the slice holds `positional` + `names.len()` live borrowed references, as
    // asserted above.
    let result =
        unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), stack, positional, names.as_ptr()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(callable.py(), result) }
}

/// The function of a bound method.
#[inline]
pub(crate) fn function_of<'a, 'py>(
    method: &'a Bound<'py, PyAny>,
) -> Option<Borrowed<'a, 'py, PyAny>> {
    // SAFETY: attached, a live object.
    let class = unsafe { ffi::Py_TYPE(method.as_ptr()) };
    if class != &raw mut PyMethod_Type {
        return None;
    }
    // SAFETY: a bound method, as just checked, which keeps its function alive.
    let function = unsafe { PyMethod_Function(method.as_ptr()) };
    // SAFETY: attached, a live object, borrowed from the method.
    Some(unsafe { Borrowed::from_ptr(method.py(), function) })
}

const MAX_METHOD_ARGUMENTS: usize = 2;

// Public functions of CPython that pyo3's `ffi` lacks.
unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}
