//! What a program calls its callbacks and tasks.

use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use super::call;
use super::make;
use super::names::name;
use super::reference::{is_function, returned};

/// The name of a callback, a task's coroutine or a class. It refers to nothing that a program would miss if it lived
/// longer: to texts and to code.
#[derive(Debug)]
pub(crate) struct Called {
    /// A `str`.
    pub(crate) name: Py<PyAny>,
    /// The code object of what is called, if it is written in Python.
    pub(crate) code: Option<Py<PyAny>>,
    /// The task's name, a `str`, if it is the step of one.
    pub(crate) task: Option<Py<PyAny>>,
}

/// What is called when the loop calls `callback`: for the step of a task its coroutine, for a bound method or a partial
/// its function.
///
/// Only an object that is none of these is asked for its name by Python code, which may raise; then it is called as its
/// class. `SystemExit` and `KeyboardInterrupt` are returned.
#[inline]
pub(crate) fn of_callback(callback: &Bound<'_, PyAny>) -> PyResult<Called> {
    // SAFETY: `Bound` keeps it alive.
    if unsafe { is_function(callback.as_ptr()) } {
        return Ok(of_function(callback));
    }
    of_other(callback)
}

/// What the class of an object is called.
pub(crate) fn of_class(object: &Bound<'_, PyAny>) -> PyResult<Called> {
    let class = object.get_type();
    // SAFETY: attached; a live class.
    let name = unsafe { ffi::PyType_GetQualName(class.as_type_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let name = unsafe { returned(object.py(), name) }?;
    Ok(Called::plain(name))
}

impl Called {
    fn plain(name: Bound<'_, PyAny>) -> Self {
        Self {
            name: name.unbind(),
            code: None,
            task: None,
        }
    }
}

/// A function written in Python.
#[inline]
fn of_function(function: &Bound<'_, PyAny>) -> Called {
    let py = function.py();
    // SAFETY: its class is exactly that one, whose instances have this layout.
    let fields = unsafe { &*function.as_ptr().cast::<ffi::PyFunctionObject>() };
    // SAFETY: attached. A function always has a name and code; with the GIL, no other thread replaces them now. Without
    // it, one may, which CPython's own attributes and calls of a function do not guard against either: a program that
    // replaces a function's code while other threads run it has lost already.
    let name = unsafe { Bound::from_borrowed_ptr(py, fields.func_qualname) };
    // SAFETY: as above.
    let code = unsafe { Bound::from_borrowed_ptr(py, fields.func_code) };
    Called {
        name: name.unbind(),
        code: Some(code.unbind()),
        task: None,
    }
}

/// Anything but a function.
fn of_other(callback: &Bound<'_, PyAny>) -> PyResult<Called> {
    let py = callback.py();
    let mut callback = callback.clone();
    for _ in 0..MOST_LAYERS {
        // SAFETY: `Bound` keeps it alive.
        if unsafe { is_function(callback.as_ptr()) } {
            return Ok(of_function(&callback));
        }
        if let Some(task) = woken_task(&callback)? {
            return of_task(&task);
        }
        callback = match parts_of_method(&callback) {
            Some((this, _)) if is_task(&this)? => return of_task(&this),
            Some((_, function)) => function,
            None if callback.get_type().is(partial(py)?) => callback.getattr(name!(py, "func"))?,
            None => break,
        };
    }
    // The object of asyncio that makes a task's first step.
    match forgiven(py, callback.getattr_opt(name!(py, "__self__")))? {
        Some(this) if is_task(&this)? && !is_builtin(&callback) => of_task(&this),
        _ => by_its_own_word(&callback),
    }
}

/// The step of a task: its coroutine.
fn of_task(task: &Bound<'_, PyAny>) -> PyResult<Called> {
    static GET_COROUTINE: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    static GET_NAME: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    let py = task.py();
    let coroutine = ask(task, &GET_COROUTINE, name!(py, "get_coro"))?;
    let name = ask(task, &GET_NAME, name!(py, "get_name"))?;
    let Some(coroutine) = coroutine else {
        return of_class(task);
    };
    let mut called = by_its_own_word(&coroutine)?;
    called.code = code_of(&coroutine)?.map(Bound::unbind);
    let name = name.filter(PyAnyMethods::is_exact_instance_of::<PyString>);
    let name = name.map_or_else(|| Ok(make::string(py, "")?.into_any()), Ok::<_, PyErr>)?;
    called.task = Some(name.unbind());
    Ok(called)
}

/// The result of a task's method. `native` keeps that of the interpreter's class, which is called without a look-up.
fn ask<'py>(
    task: &Bound<'py, PyAny>,
    native: &PyOnceLock<Option<Py<PyAny>>>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = task.py();
    let class = native_task(py);
    if let Some(class) = class
        && task.get_type().is(class)
        && let Some(method) = native.get_or_init(py, || class.getattr(name).ok().map(Bound::unbind))
    {
        return call::function(method.bind(py), [task]).map(Some);
    }
    forgiven(py, task.call_method0(name).map(Some))
}

/// What it says that it is called, or else its class.
fn by_its_own_word(object: &Bound<'_, PyAny>) -> PyResult<Called> {
    let py = object.py();
    match forgiven(py, object.getattr_opt(name!(py, "__qualname__")))? {
        Some(name) if name.is_exact_instance_of::<PyString>() => Ok(Called::plain(name)),
        _ => of_class(object),
    }
}

/// Drops an exception of a program's own naming, unless it ends the run.
fn forgiven<T>(py: Python<'_>, result: PyResult<Option<T>>) -> PyResult<Option<T>> {
    result.or_else(|error| {
        let is_exit = error.is_instance_of::<PySystemExit>(py)
            || error.is_instance_of::<PyKeyboardInterrupt>(py);
        if is_exit { Err(error) } else { Ok(None) }
    })
}

/// The task that a built-in method of asyncio continues.
fn woken_task<'py>(callback: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !is_builtin(callback) {
        return Ok(None);
    }
    // SAFETY: its class is that one or a subclass, whose instances have this layout.
    let fields = unsafe { &*callback.as_ptr().cast::<ffi::PyCFunctionObject>() };
    // SAFETY: a built-in function has a definition, which lives as long as the function.
    let definition = unsafe { &*fields.m_ml };
    // SAFETY: a definition has a name, which ends with a zero.
    let name = unsafe { CStr::from_ptr(definition.ml_name) };
    if name != WAKEUP || fields.m_self.is_null() {
        return Ok(None);
    }
    // SAFETY: attached; the function keeps it alive.
    let this = unsafe { Bound::from_borrowed_ptr(callback.py(), fields.m_self) };
    Ok(is_task(&this)?.then_some(this))
}

fn is_builtin(callback: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::PyCFunction_Check(callback.as_ptr()) != 0 }
}

/// The object and the function of a bound method.
fn parts_of_method<'py>(
    callback: &Bound<'py, PyAny>,
) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    // SAFETY: this only takes the address of one of the interpreter's own classes.
    if callback.get_type_ptr() != &raw mut PyMethod_Type {
        return None;
    }
    let py = callback.py();
    // SAFETY: attached; its class is exactly that one.
    let this = unsafe { PyMethod_Self(callback.as_ptr()) };
    // SAFETY: attached; a method keeps its object alive, and always has one.
    let this = unsafe { Bound::from_borrowed_ptr(py, this) };
    // SAFETY: attached; its class is exactly that one.
    let function = unsafe { PyMethod_Function(callback.as_ptr()) };
    // SAFETY: attached; a method keeps its function alive, and always has one.
    let function = unsafe { Bound::from_borrowed_ptr(py, function) };
    Some((this, function))
}

/// The code of a coroutine or a generator of the interpreter's; without an audit event, which `cr_code` is.
fn code_of<'py>(coroutine: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, object) = (coroutine.py(), coroutine.as_ptr());
    // SAFETY: a live object.
    let is_coroutine = unsafe { ffi::PyCoro_CheckExact(object) != 0 };
    // SAFETY: a live object.
    let is_generator = unsafe { ffi::PyGen_CheckExact(object) != 0 };
    if !is_coroutine && !is_generator {
        return Ok(None);
    }
    #[cfg(Py_3_12)]
    // SAFETY: attached; a coroutine has the layout of a generator.
    let code = unsafe { PyGen_GetCode(object) };
    #[cfg(not(Py_3_12))]
    let code = {
        // SAFETY: a coroutine has the layout of a generator, of which this is the one.
        let fields = unsafe { &*object.cast::<ffi::PyGenObject>() };
        // SAFETY: attached; the coroutine keeps its code alive.
        unsafe { ffi::Py_XNewRef(fields.gi_code) }
    };
    // SAFETY: a new reference, or null with an exception set.
    let code = unsafe { returned(py, code) }?;
    Ok(Some(code))
}

fn is_task(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static IN_PYTHON: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let (py, class) = (object.py(), object.get_type());
    if let Some(native) = native_task(py)
        && (class.is(native) || class.is_subclass(native)?)
    {
        return Ok(true);
    }
    class.is_subclass(make::imported(&IN_PYTHON, py, "asyncio.tasks", "_PyTask")?)
}

/// The interpreter's own class of tasks, if it is built with it.
fn native_task(py: Python<'_>) -> Option<&Bound<'_, PyType>> {
    static NATIVE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    make::imported(&NATIVE, py, "_asyncio", "Task").ok()
}

fn partial(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static PARTIAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    make::imported(&PARTIAL, py, "functools", "partial")
}

/// Partials of methods of partials: beyond this they are called as their class.
const MOST_LAYERS: usize = 8;

/// The name of the built-in method that continues a task.
const WAKEUP: &CStr = c"task_wakeup";

// Every version from 3.11 to 3.15 exports these.
unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Self(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
    #[cfg(Py_3_12)]
    fn PyGen_GetCode(generator: *mut ffi::PyObject) -> *mut ffi::PyObject;
}
