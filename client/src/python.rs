//! Python awaitables as Rust futures.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::remote::EventLoop;

/// A Python awaitable as a Rust future, on the loop that runs on this thread.
///
/// It runs as a task of its own, in a copy of the current context, from now on. Dropping the future cancels
/// the task.
///
/// # Errors
///
/// `RuntimeError` when no event loop runs on this thread, `TypeError` when the object cannot be awaited.
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

/// What [`into_future`] makes.
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
                // Ignored: the loop is closed, and has dropped the task.
                let _ = task.bind(py).call_method0(intern!(py, "cancel"));
            }
            drop(result);
        };
        if self.event_loop.is_here() {
            // Ignored when the interpreter is gone.
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

/// What the task's end leaves and the future finds, on whichever threads the two are.
#[derive(Default)]
struct Cell(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Until it has ended.
    task: Option<Py<PyAny>>,
    result: Option<PyResult<Py<PyAny>>>,
    waker: Option<Waker>,
    dropped: bool,
}

impl Cell {
    // No Python code runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the loop's thread: what goes unwanted is dropped there.
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

/// Makes the task. On the loop's thread.
fn start(cell: &Arc<Cell>, awaitable: &Bound<'_, PyAny>) -> PyResult<()> {
    static ENSURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = awaitable.py();
    if cell.lock().dropped {
        // Like a task that is cancelled before it starts: a coroutine is closed, not left to warn.
        if let Some(close) = awaitable.getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        return Ok(());
    }
    let ensure = ENSURE.import(py, "asyncio.tasks", "ensure_future")?;
    let task = ensure.call1((awaitable,))?;
    let finished = Arc::clone(cell);
    let done = PyCFunction::new_closure(
        py,
        None,
        None,
        move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
            let py = arguments.py();
            let result = arguments.get_item(0)?.call_method0(intern!(py, "result"));
            finished.finish(result.map(Bound::unbind));
            Ok(())
        },
    )?;
    task.call_method1(intern!(py, "add_done_callback"), (done,))?;
    let mut inner = cell.lock();
    if inner.dropped {
        drop(inner);
        task.call_method0(intern!(py, "cancel"))?;
    } else {
        inner.task = Some(task.unbind());
    }
    Ok(())
}
