//! `create_task` and `create_future`: create CPython's own C types without a Python frame.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use crate::ffi::{Args, add_fast_method, call, make, method, name};
use crate::scheduler::Core;

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<CreateFuture>(class)?;
    add_fast_method::<CreateTask>(class)
}

fn future_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUTURE
        .get_or_try_init(py, || asyncios(py, "asyncio.futures", "Future"))
        .map(|class| class.bind(py))
}

fn task_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    TASK.get_or_try_init(py, || asyncios(py, "asyncio.tasks", "Task"))
        .map(|class| class.bind(py))
}

/// The class that asyncio's module contains when the first object is created. `nest_asyncio` replaces it by the
/// Python class, which is slower and, on 3.14, has no current tasks; then this is the native class.
fn asyncios(py: Python<'_>, module: &str, name: &str) -> PyResult<Py<PyAny>> {
    let nests = make::import(py, "asyncio", "_nest_patched").is_ok();
    let module = if nests { "_asyncio" } else { module };
    make::import(py, module, name).map(Bound::unbind)
}

type This = Core;

method!(
    CreateFuture,
    "create_future",
    "An `asyncio.Future` of this loop.",
    |this| {
        static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
        let py = this.py();
        let future = future_class(py)?;
        let names = NAMES
            .get_or_try_init(py, || tuple([name!(py, "loop")]))?
            .bind(py);
        call::with_keywords(future, &[Some(this.as_any().as_borrowed())], names)
    }
);

method!(
    CreateTask,
    "create_task",
    "($self, coro, **kwargs)",
    "Run a coroutine as an `asyncio.Task` of this loop; accepts the keywords of the interpreter's `Task`.",
    |this, arguments| {
        static NAMES: PyOnceLock<[Py<PyTuple>; 2]> = PyOnceLock::new();
        let py = this.py();
        let core = this.get();
        let (coroutine, name) = match (arguments.get(0), arguments.len()) {
            (Some(coroutine), 1) => (Some(coroutine), only_name(arguments)),
            _ => (None, None),
        };
        let factory = this.getattr(name!(py, "_task_factory"))?;
        let simple = !arguments.has_keywords() || name.is_some();
        let Some(coroutine) = coroutine.filter(|_| simple && factory.is_none() && !core.is_debug())
        else {
            return with_asyncio(this, arguments);
        };
        core.check_closed()?;
        let task = task_class(py)?;
        let [with_loop, with_name] = NAMES.get_or_try_init(py, || {
            Ok::<_, PyErr>([
                tuple([name!(py, "loop")])?,
                tuple([name!(py, "loop"), name!(py, "name")])?,
            ])
        })?;
        let event_loop = Some(this.as_any().as_borrowed());
        match name {
            None => call::with_keywords(task, &[Some(coroutine), event_loop], with_loop.bind(py)),
            Some(_) => call::with_keywords(
                task,
                &[Some(coroutine), event_loop, name],
                with_name.bind(py),
            ),
        }
    }
);

/// The value of `name=` if that is the only keyword, as in `asyncio.create_task`.
fn only_name<'a, 'py>(arguments: Args<'a, 'py>) -> Option<Borrowed<'a, 'py, PyAny>> {
    let mut keywords = arguments.keywords();
    let (name, value) = keywords.next()?;
    (keywords.next().is_none() && name == "name").then_some(value)
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
