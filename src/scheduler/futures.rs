//! `create_future`: CPython's own C type, without a Python frame.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::core::Core;
use crate::ffi::{add_fast_method, call, future, make, method, name};

/// Adds `create_future()` to `Core`, or to a subclass of it: two classes in all.
pub(crate) fn add_method(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    add_fast_method::<CreateFuture>(class)?;
    let own = class.getattr(name!(py, "create_future"))?;
    if let Err(own) = OWN[0].set(py, own.unbind()) {
        // Ignored: a third class would only be slower.
        let _ = OWN[1].set(py, own);
    }
    Ok(())
}

/// The method as it was added to each class.
static OWN: [PyOnceLock<Py<PyAny>>; 2] = [PyOnceLock::new(), PyOnceLock::new()];

/// `core.create_future()`, whatever method of that name the program has given the loop.
#[inline]
pub(crate) fn create_future<'py>(core: &Bound<'py, Core>) -> PyResult<Bound<'py, PyAny>> {
    let py = core.py();
    let name = name!(py, "create_future");
    let found = call::unbound_method(core.as_any(), name)?;
    let is_own = |found: &Bound<'py, PyAny>| {
        let mut own = OWN.iter().filter_map(|own| own.get(py));
        own.any(|own| found.is(own))
    };
    match found {
        Some(found) if is_own(&found) => new(core),
        _ => call::method(core.as_any(), name, []),
    }
}

/// A class of asyncio's, `Future` or `Task`.
pub(crate) struct Made {
    pub(crate) class: Py<PyAny>,
    /// Whether it is the interpreter's C class, which finds the running loop as [`is_running_loop`] does.
    pub(crate) is_native: bool,
}

/// The class that asyncio's module contains when the first object is created. `nest_asyncio` replaces it by the
/// Python class, which is slower and, on 3.14, has no current tasks; then this is the native class.
pub(crate) fn asyncios(py: Python<'_>, module: &str, name: &str) -> PyResult<Made> {
    let native = make::import(py, "_asyncio", name);
    if make::import(py, "asyncio", "_nest_patched").is_ok() {
        return Ok(Made {
            class: native?.unbind(),
            is_native: true,
        });
    }
    let class = make::import(py, module, name)?;
    Ok(Made {
        is_native: native.is_ok_and(|native| native.is(&class)),
        class: class.unbind(),
    })
}

/// Whether this is the loop that a future or a task takes without `loop=`: then it is created without keywords, which
/// a C class would receive in a new dictionary.
#[inline]
pub(crate) fn is_running_loop(this: &Bound<'_, Core>) -> PyResult<bool> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if cfg!(not(Py_3_12)) {
        return Ok(false); // It would make a system call.
    }
    let running = make::imported(&RUNNING, this.py(), "_asyncio", "_get_running_loop")?;
    Ok(call::function(running, [])?.is(this))
}

#[inline]
fn new<'py>(this: &Bound<'py, Core>) -> PyResult<Bound<'py, PyAny>> {
    static FUTURE: PyOnceLock<Made> = PyOnceLock::new();
    static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let py = this.py();
    let kind = FUTURE.get_or_try_init(py, || asyncios(py, "asyncio.futures", "Future"))?;
    let class = kind.class.bind(py);
    if kind.is_native
        && is_running_loop(this)?
        && let Some(made) = future::new(py)?
    {
        return Ok(made);
    }
    let names = NAMES.get_or_try_init(py, || {
        let names = [name!(py, "loop").as_any().as_borrowed()];
        make::tuple(py, &names).map(Bound::unbind)
    })?;
    let names = names.bind(py);
    call::with_keywords(class, &[Some(this.as_any().as_borrowed())], names)
}

type This = Core;

method!(
    CreateFuture,
    "create_future",
    "An `asyncio.Future` of this loop.",
    |this| new(this)
);
