//! `create_task`: creates CPython's own C type without a Python frame.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use crate::ffi::{Args, add_fast_method, call, make, method, name};
use crate::scheduler::futures::{self, Made, asyncios, is_running_loop};
use crate::scheduler::{Core, origin};

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    futures::add_method(class)?;
    add_fast_method::<CreateTask>(class)
}

fn task_class(py: Python<'_>) -> PyResult<&Made> {
    static TASK: PyOnceLock<Made> = PyOnceLock::new();
    TASK.get_or_try_init(py, || asyncios(py, "asyncio.tasks", "Task"))
}

type This = Core;

method!(
    CreateTask,
    "create_task",
    "($self, coro, **kwargs)",
    "Run a coroutine as an `asyncio.Task` of this loop; accepts the keywords of the interpreter's `Task`.",
    |this, arguments| {
        let (py, core) = (this.py(), this.get());
        if core.shared.traces.is_off() && is_plain(core, arguments) {
            core.check_closed()?;
            let task = task_class(py)?;
            if task.is_native && is_running_loop(this)? {
                return running(task.class.bind(py), arguments);
            }
            if let Some(made) = of_loop(this, task.class.bind(py), arguments) {
                return made;
            }
        }
        with_trace(this, arguments)
    }
);

/// Whether the loop itself makes the task, of keywords that it knows.
#[inline]
fn is_plain(core: &Core, arguments: Args<'_, '_>) -> bool {
    let py = arguments.py();
    core.task_factory.is_unset()
        && arguments.len() == 1
        && arguments.has_only_keywords([name!(py, "name"), name!(py, "context")])
}

/// Creates a task, and records where if the loop remembers that.
#[cold]
fn with_trace<'py>(
    this: &Bound<'py, Core>,
    arguments: Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, core) = (this.py(), this.get());
    let mut made = None;
    // In debug mode, asyncio's own method does what it does there.
    if !core.is_debug() && is_plain(core, arguments) {
        core.check_closed()?;
        made = of_loop(this, task_class(py)?.class.bind(py), arguments);
    }
    let task = made.unwrap_or_else(|| with_asyncio(this, arguments))?;
    origin::note(this, &task)?;
    Ok(task)
}

/// Creates a task of the running loop.
fn running<'py>(
    class: &Bound<'py, PyAny>,
    arguments: Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // `asyncio.create_task` passes a name, even `None`, before Python 3.14.
    if let Some(coroutine) = arguments.get(0)
        && let Some(name) = arguments.single_keyword(name!(py, "name"))
        && name.is_none()
    {
        return call::function(class, [&coroutine]);
    }
    arguments.pass_on(class)
}

/// Creates a task of any loop, if it is not given a context.
fn of_loop<'py>(
    this: &Bound<'py, Core>,
    class: &Bound<'py, PyAny>,
    arguments: Args<'_, 'py>,
) -> Option<PyResult<Bound<'py, PyAny>>> {
    static NAMES: PyOnceLock<[Py<PyTuple>; 2]> = PyOnceLock::new();
    let py = this.py();
    let names = NAMES.get_or_try_init(py, || {
        let (event_loop, name) = (name!(py, "loop"), name!(py, "name"));
        PyResult::Ok([tuple([event_loop])?, tuple([event_loop, name])?])
    });
    let [with_loop, with_name] = match names {
        Ok(names) => names,
        Err(error) => return Some(Err(error)),
    };
    let (coroutine, event_loop) = (arguments.get(0), Some(this.as_any().as_borrowed()));
    if !arguments.has_keywords() {
        let values = [coroutine, event_loop];
        return Some(call::with_keywords(class, &values, with_loop.bind(py)));
    }
    let name = arguments.single_keyword(name!(py, "name"))?;
    let values = [coroutine, event_loop, Some(name)];
    Some(call::with_keywords(class, &values, with_name.bind(py)))
}

/// Creates a task as the running interpreter's asyncio does: for a task factory, debug mode or other keywords.
fn with_asyncio<'py>(
    this: &Bound<'py, Core>,
    arguments: Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    static CREATE_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = this.py();
    let create_task = CREATE_TASK.get_or_try_init(py, || {
        let base = make::import(py, "asyncio.base_events", "BaseEventLoop")?;
        base.getattr(name!(py, "create_task")).map(Bound::unbind)
    })?;
    let positional = (0..arguments.len()).filter_map(|index| arguments.get(index));
    let all = std::iter::once(this.as_any().as_borrowed())
        .chain(positional)
        .collect::<Vec<_>>();
    let keywords = make::dict(py)?;
    for (name, value) in arguments.keywords() {
        keywords.set_item(name, value)?;
    }
    create_task
        .bind(py)
        .call(make::tuple(py, &all)?, Some(&keywords))
}

fn tuple<const N: usize>(names: [&Bound<'_, PyString>; N]) -> PyResult<Py<PyTuple>> {
    make::tuple(
        names[0].py(),
        &names.map(|name| name.as_any().as_borrowed()),
    )
    .map(Bound::unbind)
}
