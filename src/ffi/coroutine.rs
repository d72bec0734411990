//! Native objects that tasks and `await` drive like a coroutine.
//!
//! A class with `__await__`, `send`, `throw` and `close` is a `collections.abc.Coroutine`, and asyncio accepts its
//! instances as coroutines. Tasks drive one through `am_send`, `await` drives it through `tp_iternext`; neither
//! creates a `StopIteration` unless the interpreter needs one.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::args::Args;
use super::class::{NativeClass, slot};
use super::make::none;
use super::method::{Members, method, panicked};
use super::names::name;
use super::panics::raise;
use super::reference::{borrowed, counted};

/// An object that is driven like a coroutine.
pub(crate) trait Coroutine: NativeClass {
    /// Whether the end under `await` uses one `StopIteration` again, whose `args` are empty. Its value is dropped with
    /// an instance whose memory is kept.
    const REUSES_STOP: bool = false;

    /// Whether it has started: before that, only `None` can be sent to it.
    fn has_begun(this: &Bound<'_, Self>) -> PyResult<bool>;

    /// Runs until it must wait or is done.
    fn step<'py>(this: &Bound<'py, Self>) -> PyResult<Step<'py>>;

    /// Raises `error` where it waits.
    fn throw<'py>(this: &Bound<'py, Self>, error: PyErr) -> PyResult<Step<'py>>;

    /// Closes it where it waits.
    fn close(this: &Bound<'_, Self>) -> PyResult<()>;
}

/// The result of one step.
pub(crate) enum Step<'py> {
    /// The future that the driver must wait for, marked as asyncio's tasks require.
    Wait(Bound<'py, PyAny>),
    /// The value of the `await`: the coroutine is done.
    Done(Bound<'py, PyAny>),
}

impl Members {
    /// Makes the instances coroutines.
    pub(crate) fn coroutine<C: Coroutine>(mut self) -> Self {
        self.slots.extend([
            slot(
                ffi::Py_tp_iter,
                ffi::PyObject_SelfIter as *const () as *mut c_void,
            ),
            slot(
                ffi::Py_am_await,
                ffi::PyObject_SelfIter as *const () as *mut c_void,
            ),
            slot(ffi::Py_tp_iternext, next::<C> as *mut c_void),
            slot(ffi::Py_am_send, am_send::<C> as *mut c_void),
        ]);
        self.method::<Send<C>>()
            .method::<Throw<C>>()
            .method::<Close<C>>()
    }
}

/// `am_send`, which asyncio's tasks call.
unsafe extern "C" fn am_send<C: Coroutine>(
    this: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let step = |py: Python<'_>| {
        // SAFETY: the interpreter calls this with an instance of this class.
        let this = unsafe { borrowed::<C>(py, &this) };
        let is_none = value == py.None().as_ptr();
        match guarded(py, || sent(this, is_none)) {
            Ok(Step::Wait(object)) => (object.into_ptr(), ffi::PySendResult::PYGEN_NEXT),
            Ok(Step::Done(object)) => (object.into_ptr(), ffi::PySendResult::PYGEN_RETURN),
            Err(error) => {
                raise(py, error);
                (ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR)
            }
        }
    };
    // SAFETY: the interpreter calls this while attached.
    let (object, outcome) = unsafe { counted(step) };
    // SAFETY: the interpreter passes a place for one pointer, valid for the length of the call.
    unsafe { result.write(object) };
    outcome
}

/// `tp_iternext`, which `await` calls.
unsafe extern "C" fn next<C: Coroutine>(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let step = |py: Python<'_>| {
        // SAFETY: the interpreter calls this with an instance of this class.
        let this = unsafe { borrowed::<C>(py, &this) };
        let error = match guarded(py, || C::step(this)) {
            Ok(Step::Wait(object)) => return object.into_ptr(),
            // Null without an exception ends an iterator with the value `None`.
            Ok(Step::Done(value)) if value.is_none() => return ptr::null_mut(),
            Ok(Step::Done(value)) if C::REUSES_STOP => match super::stop::set(value) {
                Ok(()) => return ptr::null_mut(),
                Err(error) => error,
            },
            Ok(Step::Done(value)) => match super::stop::set_new(&value) {
                Ok(()) => return ptr::null_mut(),
                Err(error) => error,
            },
            Err(error) => error,
        };
        raise(py, error);
        ptr::null_mut()
    };
    // SAFETY: the interpreter calls this while attached.
    unsafe { counted(step) }
}

fn stop_class(py: Python<'_>) -> Bound<'_, PyType> {
    py.get_type::<PyStopIteration>()
}

/// For the methods `send` and `throw`, where the end is an exception.
fn outcome<'py>(py: Python<'py>, step: PyResult<Step<'py>>) -> PyResult<Bound<'py, PyAny>> {
    match step? {
        Step::Wait(object) => Ok(object),
        Step::Done(value) => Err(PyErr::from_value(stop_class(py).call1((value,))?)),
    }
}

/// Turns a panic into an exception, and keeps a `StopIteration` from looking like the end.
fn guarded<'py>(
    py: Python<'py>,
    call: impl FnOnce() -> PyResult<Step<'py>>,
) -> PyResult<Step<'py>> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(panicked(&*panic)))
        .map_err(|error| left(py, error))
}

/// The exception that leaves a coroutine in which `error` was raised (PEP 479).
fn left(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let left = PyRuntimeError::new_err("coroutine raised StopIteration");
    let cause = error.value(py).clone();
    left.set_cause(py, Some(error));
    // Ignored: only recording the cause can fail.
    let _ = left.value(py).setattr("__context__", cause);
    left
}

/// Makes a step with the value that was sent.
fn sent<'py, C: Coroutine>(this: &Bound<'py, C>, is_none: bool) -> PyResult<Step<'py>> {
    if !is_none && !C::has_begun(this)? {
        return Err(PyTypeError::new_err(
            "can't send non-None value to a just-started coroutine",
        ));
    }
    C::step(this)
}

type This<C> = C;

method!(
    Send<C: Coroutine>,
    "send",
    "($self, value, /)",
    "Run until it must wait; `value` is ignored.",
    |this, arguments| {
        arguments.expect("send", 1, 1)?;
        let is_none = arguments.get(0).is_none_or(|value| value.is_none());
        let step = guarded(this.py(), || sent(this, is_none));
        outcome(this.py(), step)
    }
);

method!(
    Throw<C: Coroutine>,
    "throw",
    "($self, type, value=None, traceback=None, /)",
    "Raise an exception where it waits.",
    |this, arguments| {
        arguments.expect("throw", 1, 3)?;
        let error = thrown(arguments)?;
        let step = guarded(this.py(), || C::throw(this, error));
        outcome(this.py(), step)
    }
);

/// The exception of `throw(exception)` or of the older form `throw(type, value, traceback)`.
fn thrown(arguments: Args<'_, '_>) -> PyResult<PyErr> {
    let py = arguments.py();
    let given = |index| {
        arguments
            .get(index)
            .filter(|argument| !argument.is_none())
            .map(Borrowed::to_owned)
    };
    let kind =
        given(0).ok_or_else(|| PyTypeError::new_err("exceptions must be classes or instances"))?;
    let exception = match (kind.cast::<PyType>(), given(1)) {
        (Ok(_), Some(value)) if value.is_instance_of::<PyBaseException>() => value,
        (Ok(class), Some(value)) => match value.cast::<PyTuple>() {
            Ok(values) => class.call1(values)?,
            Err(_) => class.call1((value,))?,
        },
        (Ok(class), None) => class.call0()?,
        (Err(_), _) => kind.clone(),
    };
    if !exception.is_instance_of::<PyBaseException>() {
        let class = exception.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "exceptions must be classes or instances deriving from BaseException, not {class}"
        )));
    }
    if let Some(traceback) = given(2) {
        exception.call_method1(name!(py, "with_traceback"), (traceback,))?;
    }
    Ok(PyErr::from_value(exception))
}

method!(Close<C: Coroutine>, "close", "End it where it waits.", |this| {
    C::close(this)?;
    Ok(none(this.py()))
});
