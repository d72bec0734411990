//! Python awaitables as Rust futures.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::names::{Function, Name};
use crate::remote::EventLoop;

/// Turns a Python awaitable into a Rust future, on the loop that is running on this thread.
///
/// The awaitable is scheduled at once, as a task in a copy of the current context. Dropping the future cancels the
/// task.
///
/// # Errors
///
/// `RuntimeError` if no event loop is running on this thread; `TypeError` if the object is not awaitable.
pub fn into_future(awaitable: Bound<'_, PyAny>) -> PyResult<PyFuture> {
    let event_loop = EventLoop::running(awaitable.py())?;
    on_loop(event_loop, awaitable)
}

pub(crate) fn on_loop(event_loop: EventLoop, awaitable: Bound<'_, PyAny>) -> PyResult<PyFuture> {
    let cell = Arc::new(Cell::default());
    if event_loop.is_here() {
        start(&cell, &awaitable)?;
    } else {
        let (cell, awaitable) = (Arc::clone(&cell), awaitable.unbind());
        event_loop.call(move |py| {
            if let Err(error) = start(&cell, awaitable.bind(py)) {
                cell.finish(Err(error));
            }
        });
    }
    Ok(PyFuture { cell, event_loop })
}

/// The future that [`into_future`] returns: resolves to the awaitable's result or exception.
pub struct PyFuture {
    cell: Arc<Cell>,
    event_loop: EventLoop,
}

impl Future for PyFuture {
    type Output = PyResult<Py<PyAny>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.cell.lock();
        if let Some(result) = inner.result.take() {
            return Poll::Ready(result);
        }
        let waker = context.waker();
        if !inner
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            inner.waker = Some(waker.clone());
        }
        Poll::Pending
    }
}

impl Drop for PyFuture {
    fn drop(&mut self) {
        let mut inner = self.cell.lock();
        inner.dropped = true;
        inner.waker = None;
        let (task, result) = (inner.task.take(), inner.result.take());
        drop(inner);
        if task.is_none() && result.is_none() {
            return;
        }
        let cancel = move |py: Python<'_>| {
            if let Some(task) = task {
                // Ignored: fails only without memory, or if the loop is closed, and then the task does not run.
                let _ = cancel_task(task.bind(py));
            }
            drop(result);
        };
        if self.event_loop.is_here() {
            // Ignored: fails only if the interpreter is finalized, and the task with it.
            let _ = Python::try_attach(cancel);
        } else {
            self.event_loop.call(cancel);
        }
    }
}

impl fmt::Debug for PyFuture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PyFuture").finish_non_exhaustive()
    }
}

/// The state that the task and the future share, possibly on different threads.
#[derive(Default)]
struct Cell(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The task; `None` before it starts and after it is done.
    task: Option<Py<PyAny>>,
    result: Option<PyResult<Py<PyAny>>>,
    waker: Option<Waker>,
    dropped: bool,
}

impl Cell {
    // No Python code may run while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the result and wakes the future. Called on the loop's thread, where an unwanted result is dropped.
    fn finish(&self, result: PyResult<Py<PyAny>>) {
        let mut inner = self.lock();
        let task = inner.task.take();
        let waker = inner.waker.take();
        let unwanted = if inner.dropped {
            Some(result)
        } else {
            inner.result = Some(result);
            None
        };
        drop(inner);
        drop((task, unwanted));
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn cancel_task<'py>(task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static CANCEL: Name = Name::new("cancel");
    task.call_method0(CANCEL.get(task.py())?)
}

/// Creates the task. Called on the loop's thread.
fn start(cell: &Arc<Cell>, awaitable: &Bound<'_, PyAny>) -> PyResult<()> {
    static CLOSE: Name = Name::new("close");
    static RESULT: Name = Name::new("result");
    static ENSURE: Function = Function::new("asyncio.tasks", "ensure_future");
    static ADD_DONE_CALLBACK: Name = Name::new("add_done_callback");
    let py = awaitable.py();
    if cell.lock().dropped {
        // As in a task that is cancelled before it starts, close a coroutine: it would warn otherwise.
        if let Some(close) = awaitable.getattr_opt(CLOSE.get(py)?)? {
            close.call0()?;
        }
        return Ok(());
    }
    let task = ENSURE.get(py)?.call1((awaitable,))?;
    let finished = Arc::clone(cell);
    let done = PyCFunction::new_closure(
        py,
        None,
        None,
        move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
            let name = RESULT.get(arguments.py());
            let result = name.and_then(|name| arguments.get_item(0)?.call_method0(name));
            finished.finish(result.map(Bound::unbind));
            Ok(())
        },
    )?;
    task.call_method1(ADD_DONE_CALLBACK.get(py)?, (done,))?;
    let mut inner = cell.lock();
    if inner.dropped {
        drop(inner);
        cancel_task(&task)?;
    } else {
        inner.task = Some(task.unbind());
    }
    Ok(())
}
