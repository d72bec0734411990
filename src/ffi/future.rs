//! asyncio's own futures, without look-ups of their attributes.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::names::name;
use super::reference::returned;
use super::{call, make};

/// The setter of an attribute of the interpreter's C class, which is immutable: no program can replace it.
#[derive(Debug)]
struct Setter {
    class: Py<PyType>,
    function: ffi::setter,
    closure: *mut c_void,
}

// SAFETY: `closure` is a constant of the class, which the interpreter's own calls pass from any thread.
unsafe impl Send for Setter {}

// SAFETY: as above.
unsafe impl Sync for Setter {}

/// `future._asyncio_future_blocking = True`
#[inline]
pub(crate) fn set_blocking(future: &Bound<'_, PyAny>) -> PyResult<()> {
    static SETTER: PyOnceLock<Option<Setter>> = PyOnceLock::new();
    let py = future.py();
    let yes = make::boolean(py, true);
    let setter = SETTER.get_or_try_init(py, || blocking_setter(py))?.as_ref();
    let Some(setter) = setter.filter(|setter| future.get_type().is(&setter.class)) else {
        return future.setattr(name!(py, "_asyncio_future_blocking"), yes);
    };
    // SAFETY: attached; a live instance of the setter's class, a live value, and the closure that belongs to it.
    let done: c_int = unsafe { (setter.function)(future.as_ptr(), yes.as_ptr(), setter.closure) };
    if done < 0 {
        return Err(PyErr::fetch(py));
    }
    Ok(())
}

/// What the call of a class does for the interpreter's own C class, which no program can change.
#[derive(Debug)]
struct Constructor {
    class: Py<PyType>,
    new: ffi::newfunc,
    init: ffi::initproc,
    no_arguments: Py<PyTuple>,
}

/// `Future()`, which belongs to the running loop; `None` if the class is not what it is in all versions.
#[inline]
pub(crate) fn new(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static CONSTRUCTOR: PyOnceLock<Option<Constructor>> = PyOnceLock::new();
    let Some(constructor) = CONSTRUCTOR.get_or_try_init(py, || constructor(py))? else {
        return Ok(None);
    };
    let class = constructor.class.bind(py).as_type_ptr();
    let arguments = constructor.no_arguments.as_ptr();
    // SAFETY: attached; a live class with its own function, an empty tuple and no keywords.
    let made = unsafe { (constructor.new)(class, arguments, ptr::null_mut()) };
    // SAFETY: attached; a new reference, or null with an exception set.
    let made = unsafe { returned(py, made) }?;
    // SAFETY: attached; a live instance of the function's class, an empty tuple and no keywords.
    if unsafe { (constructor.init)(made.as_ptr(), arguments, ptr::null_mut()) } < 0 {
        return Err(PyErr::fetch(py));
    }
    Ok(Some(made))
}

fn constructor(py: Python<'_>) -> PyResult<Option<Constructor>> {
    let Some(class) = immutable_class(py)? else {
        return Ok(None);
    };
    // SAFETY: a live type.
    let slots = unsafe { &*class.as_type_ptr() };
    let (Some(new), Some(init)) = (slots.tp_new, slots.tp_init) else {
        return Ok(None);
    };
    Ok(Some(Constructor {
        class: class.unbind(),
        new,
        init,
        no_arguments: make::tuple(py, &[])?.unbind(),
    }))
}

/// `future.result()`. As in `await`, an attribute of that name that the program has given the future does not count.
#[inline]
pub(crate) fn result<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static METHOD: PyOnceLock<Option<(Py<PyType>, Py<PyAny>)>> = PyOnceLock::new();
    let py = future.py();
    let find = || {
        let Some(class) = immutable_class(py)? else {
            return Ok(None);
        };
        let method = class.getattr(name!(py, "result"))?.unbind();
        PyResult::Ok(Some((class.unbind(), method)))
    };
    match METHOD.get_or_try_init(py, find)? {
        Some((class, method)) if future.get_type().is(class) => {
            call::function(method.bind(py), [future])
        }
        _ => call::method(future, name!(py, "result"), []),
    }
}

/// The interpreter's C class; `None` if it is not what it is in all versions.
fn immutable_class(py: Python<'_>) -> PyResult<Option<Bound<'_, PyType>>> {
    let Ok(class) = make::import(py, "_asyncio", "Future")?.cast_into::<PyType>() else {
        return Ok(None);
    };
    // SAFETY: a live type.
    let flags = unsafe { ffi::PyType_GetFlags(class.as_type_ptr()) };
    Ok((flags & ffi::Py_TPFLAGS_IMMUTABLETYPE != 0).then_some(class))
}

/// `None` if the class is not what it is in all versions.
fn blocking_setter(py: Python<'_>) -> PyResult<Option<Setter>> {
    let Some(class) = immutable_class(py)? else {
        return Ok(None);
    };
    let attributes = class.getattr(make::string(py, "__dict__")?)?;
    let descriptor = attributes.get_item(name!(py, "_asyncio_future_blocking"))?;
    // SAFETY: this only takes the address of one of the interpreter's own classes.
    let is_descriptor = descriptor.get_type_ptr() == &raw mut ffi::PyGetSetDescr_Type;
    if !is_descriptor {
        return Ok(None);
    }
    // SAFETY: its class is exactly that one, whose instances have this layout.
    let descriptor = unsafe { &*descriptor.as_ptr().cast::<ffi::PyGetSetDescrObject>() };
    // SAFETY: a descriptor has a definition, which lives as long as the class.
    let definition = unsafe { &*descriptor.d_getset };
    Ok(definition.set.map(|function| Setter {
        class: class.unbind(),
        function,
        closure: definition.closure,
    }))
}
