//! Futures made with yamanote's own crate.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use tokio::sync::oneshot;
use yamanote::EventLoop;

type Awaitable<'py> = PyResult<Bound<'py, PyAny>>;

/// Counts futures that were dropped before they were ready.
struct Guard {
    finished: bool,
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

impl Guard {
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.finished {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Also counted if it is dropped before its first poll.
pub(crate) fn guarded<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut guard = Guard { finished: false };
    async move {
        let value = future.await;
        guard.finish();
        value
    }
}

/// Returns `Pending` `times` times, and wakes itself at once each time.
pub(crate) async fn yields(times: u32) {
    for _ in 0..times {
        let mut yielded = false;
        poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[pyfunction]
pub(crate) fn dropped() -> usize {
    DROPPED.load(Ordering::SeqCst)
}

#[pyfunction]
pub(crate) fn live_futures(py: Python<'_>) -> PyResult<usize> {
    yamanote::live_futures(py)
}

#[pyfunction]
pub(crate) fn ready(py: Python<'_>, value: Py<PyAny>) -> Awaitable<'_> {
    yamanote::future_into_py(py, async move { Ok(value) })
}

#[pyfunction]
pub(crate) fn yielding(py: Python<'_>, value: Py<PyAny>, times: u32) -> Awaitable<'_> {
    yamanote::future_into_py(py, async move {
        yields(times).await;
        Ok(value)
    })
}

/// Not `Send`: counts its polls in an `Rc`.
#[pyfunction]
pub(crate) fn local(py: Python<'_>, times: u32) -> Awaitable<'_> {
    let count = Rc::new(Cell::new(0));
    yamanote::local_future_into_py(py, async move {
        for _ in 0..times {
            count.set(count.get() + 1);
            yields(1).await;
        }
        Ok(count.get())
    })
}

#[pyfunction]
pub(crate) fn never(py: Python<'_>) -> Awaitable<'_> {
    yamanote::future_into_py::<_, ()>(py, guarded(pending()))
}

#[pyfunction]
pub(crate) fn local_never(py: Python<'_>) -> Awaitable<'_> {
    let kept = Rc::new(());
    yamanote::local_future_into_py::<_, ()>(
        py,
        guarded(async move {
            let never = pending().await;
            drop(kept);
            never
        }),
    )
}

#[pyfunction]
pub(crate) fn sleep(py: Python<'_>, seconds: f64) -> Awaitable<'_> {
    yamanote::future_into_py(
        py,
        guarded(async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Ok(seconds)
        }),
    )
}

#[pyfunction]
pub(crate) fn socket(py: Python<'_>, port: u16) -> Awaitable<'_> {
    yamanote::future_into_py(py, crate::round_trip(port))
}

#[pyfunction]
pub(crate) fn failing(py: Python<'_>, times: u32) -> Awaitable<'_> {
    yamanote::future_into_py::<_, ()>(py, async move {
        yields(times).await;
        Err(PyOSError::new_err((5, "as asked")))
    })
}

#[pyfunction]
pub(crate) fn panicking(py: Python<'_>, times: u32) -> Awaitable<'_> {
    yamanote::future_into_py::<_, ()>(
        py,
        guarded(async move {
            yields(times).await;
            panic!("as asked");
        }),
    )
}

#[pyfunction]
pub(crate) fn spawned(py: Python<'_>, value: u64, times: u32) -> Awaitable<'_> {
    yamanote::spawn(
        py,
        guarded(async move {
            yields(times).await;
            Ok(value)
        }),
    )
}

#[pyfunction]
pub(crate) fn spawned_never(py: Python<'_>) -> Awaitable<'_> {
    yamanote::spawn::<_, ()>(py, guarded(pending()))
}

#[pyfunction]
pub(crate) fn spawned_panicking(py: Python<'_>) -> Awaitable<'_> {
    yamanote::spawn::<_, ()>(py, async { panic!("as asked") })
}

/// Calls a Python function inside the future, in its `times`th poll.
#[pyfunction]
pub(crate) fn call(py: Python<'_>, function: Py<PyAny>, times: u32) -> Awaitable<'_> {
    yamanote::future_into_py(py, async move {
        yields(times).await;
        Python::attach(|py| function.call0(py))
    })
}

/// Turns a Python awaitable into a Rust future, and that into a Python awaitable.
#[pyfunction]
pub(crate) fn await_python<'py>(py: Python<'py>, awaitable: Bound<'py, PyAny>) -> Awaitable<'py> {
    let future = yamanote::into_future(awaitable)?;
    yamanote::future_into_py(py, guarded(future))
}

/// The same, inside the future, with a function that returns the awaitable.
#[pyfunction]
pub(crate) fn nested(py: Python<'_>, function: Py<PyAny>) -> Awaitable<'_> {
    yamanote::future_into_py(py, async move {
        let future = Python::attach(|py| yamanote::into_future(function.bind(py).call0()?))?;
        future.await
    })
}

/// Starts and awaits a Python awaitable on a worker.
#[pyfunction]
pub(crate) fn await_in_worker<'py>(
    py: Python<'py>,
    awaitable: Bound<'py, PyAny>,
) -> Awaitable<'py> {
    let event_loop = EventLoop::running(py)?;
    let awaitable = awaitable.unbind();
    yamanote::spawn(
        py,
        guarded(async move {
            let future = Python::attach(|py| event_loop.into_future(awaitable.into_bound(py)))?;
            future.await
        }),
    )
}

/// Schedules `function` on the loop's thread from another thread.
#[pyfunction]
pub(crate) fn call_home(py: Python<'_>, function: Py<PyAny>) -> PyResult<()> {
    let event_loop = EventLoop::running(py)?;
    std::thread::spawn(move || {
        event_loop.call(move |py| {
            if let Err(error) = function.call0(py) {
                error.write_unraisable(py, None);
            }
        });
    });
    Ok(())
}

/// Creates futures that wait until it is opened.
#[pyclass(frozen, module = "yamanote_testing")]
#[derive(Debug)]
pub(crate) struct Gate(Mutex<Vec<oneshot::Sender<u64>>>);

impl Gate {
    fn receiver(&self) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders.push(sender);
        receiver
    }

    fn take(&self) -> Vec<oneshot::Sender<u64>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Gate {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Returns an awaitable for the value that the gate is opened with.
    fn wait<'py>(&self, py: Python<'py>) -> Awaitable<'py> {
        let receiver = self.receiver();
        yamanote::future_into_py(
            py,
            guarded(async move { receiver.await.map_err(|_| closed()) }),
        )
    }

    /// Opens the gate, on this thread or another.
    #[pyo3(signature = (value, thread=false))]
    fn open(&self, value: u64, thread: bool) {
        let senders = self.take();
        let send = move || {
            for sender in senders {
                // Ignored: fails only if the waiter was cancelled.
                let _ = sender.send(value);
            }
        };
        if thread {
            std::thread::spawn(send);
        } else {
            send();
        }
    }

    /// Returns whether a future waits.
    fn is_awaited(&self) -> bool {
        let senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders.iter().any(|sender| !sender.is_closed())
    }
}

/// Like [`Gate::wait`], on a worker.
#[pyfunction]
pub(crate) fn spawned_gate<'py>(py: Python<'py>, gate: &Bound<'py, Gate>) -> Awaitable<'py> {
    let receiver = gate.get().receiver();
    yamanote::spawn(
        py,
        guarded(async move { receiver.await.map_err(|_| closed()) }),
    )
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the gate is gone")
}
