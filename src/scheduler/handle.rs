//! `Handle` and `TimerHandle`: what Python sees of a scheduled callback.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyType};

use super::Core;
use crate::ffi::handle::{self, Handle, Part};
use crate::ffi::{Args, Attribute, FastMethod, Members, name};

/// Makes the classes.
pub(crate) fn make_classes(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyType>>> {
    handle::make_classes(py, plain, || {
        plain().attribute::<When>().attribute::<Scheduled>()
    })
}

fn plain() -> Members {
    Members::default()
        .method::<Cancel>()
        .method::<Cancelled>()
        .method::<GetContext>()
        .attribute::<Object<{ LOOP }>>()
        .attribute::<Object<{ CALLBACK }>>()
        .attribute::<Object<{ CONTEXT }>>()
        .attribute::<Object<{ SOURCE_TRACEBACK }>>()
        .attribute::<Object<{ REPR }>>()
        .attribute::<Arguments>()
        .attribute::<IsCancelled>()
}

/// In debug mode, remembers who made the handle.
#[cold]
pub(crate) fn trace_source(handle: &Bound<'_, Handle>) -> PyResult<()> {
    static EXTRACT_STACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = handle.py();
    let extract = EXTRACT_STACK.import(py, "asyncio.format_helpers", "extract_stack")?;
    handle::set_source_traceback(handle, extract.call0()?);
    Ok(())
}

/// Cancels, and in debug mode keeps what the handle looked like.
fn cancel(this: &Bound<'_, Handle>) -> PyResult<()> {
    let py = this.py();
    let event_loop = handle::part(this, Part::Loop);
    let core = event_loop.cast::<Core>()?;
    wait_for_callback(core, this);
    if !handle::cancel(this) {
        return Ok(());
    }
    let repr = if core.get().is_debug() {
        Some(this.as_any().repr()?.into_any())
    } else {
        None
    };
    handle::let_go(this, repr);
    if handle::is_scheduled(this)
        && let Some(local) = core.get().try_local(py)
    {
        // From a thread that has no business here the timer is swept later, when it is due.
        local.timer_cancelled();
    }
    Ok(())
}

/// Since Python 3.14, `call_soon_threadsafe` promises other threads that a callback has ended, or never starts.
fn wait_for_callback(core: &Bound<'_, Core>, this: &Bound<'_, Handle>) {
    if cfg!(Py_3_14) && !core.get().owner().is_running_here(core.py()) {
        handle::wait_until_ended(this);
    }
}

struct Cancel;

impl FastMethod for Cancel {
    type Receiver = Handle;
    const NAME: &'static CStr = c"cancel";
    const DOC: &'static CStr =
        c"cancel($self)\n--\n\nKeep the callback from running, and let go of it and its arguments.";
    const IS_LIGHT: bool = true;

    fn call<'py>(
        this: &Bound<'py, Handle>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("cancel", 0, 0)?;
        cancel(this)?;
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct Cancelled;

impl FastMethod for Cancelled {
    type Receiver = Handle;
    const NAME: &'static CStr = c"cancelled";
    const DOC: &'static CStr = c"cancelled($self)\n--\n\nWhether the callback was cancelled.";

    fn call<'py>(
        this: &Bound<'py, Handle>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("cancelled", 0, 0)?;
        wait_for_callback(handle::part(this, Part::Loop).cast::<Core>()?, this);
        IsCancelled::get(this)
    }
}

struct GetContext;

impl FastMethod for GetContext {
    type Receiver = Handle;
    const NAME: &'static CStr = c"get_context";
    const DOC: &'static CStr =
        c"get_context($self)\n--\n\nThe `contextvars.Context` that the callback runs in.";

    fn call<'py>(
        this: &Bound<'py, Handle>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("get_context", 0, 0)?;
        Ok(handle::part(this, Part::Context))
    }
}

struct IsCancelled;

impl Attribute for IsCancelled {
    type Receiver = Handle;
    const NAME: &'static CStr = c"_cancelled";

    fn get<'py>(this: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyBool::new(this.py(), handle::is_cancelled(this))
            .to_owned()
            .into_any())
    }
}

struct Arguments;

impl Attribute for Arguments {
    type Receiver = Handle;
    const NAME: &'static CStr = c"_args";

    fn get<'py>(this: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
        let arguments = handle::arguments(this)?;
        Ok(arguments.map_or_else(|| this.py().None().into_bound(this.py()), Bound::into_any))
    }
}

struct When;

impl Attribute for When {
    type Receiver = Handle;
    const NAME: &'static CStr = c"_when";

    fn get<'py>(this: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
        let when = PyFloat::new(this.py(), handle::when(this));
        if handle::is_whole(this) {
            return when.call_method0(name!(this.py(), "__int__"));
        }
        Ok(when.into_any())
    }
}

struct Scheduled;

impl Attribute for Scheduled {
    type Receiver = Handle;
    const NAME: &'static CStr = c"_scheduled";

    fn get<'py>(this: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyBool::new(this.py(), handle::is_scheduled(this))
            .to_owned()
            .into_any())
    }
}

/// One of the objects that a handle holds, under asyncio's name for it.
struct Object<const WHICH: usize>;

const LOOP: usize = 0;
const CALLBACK: usize = 1;
const CONTEXT: usize = 2;
const SOURCE_TRACEBACK: usize = 3;
const REPR: usize = 4;

const OBJECTS: [(&CStr, Part); 5] = [
    (c"_loop", Part::Loop),
    (c"_callback", Part::Callback),
    (c"_context", Part::Context),
    (c"_source_traceback", Part::SourceTraceback),
    (c"_repr", Part::Repr),
];

impl<const WHICH: usize> Attribute for Object<WHICH> {
    type Receiver = Handle;
    const NAME: &'static CStr = OBJECTS[WHICH].0;

    fn get<'py>(this: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
        Ok(handle::part(this, OBJECTS[WHICH].1))
    }
}
