//! The same with pyo3-async-runtimes alone, as in an extension that does not use yamanote's crate.

use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::{future_into_py, into_future};

use crate::futures::yields;

#[pyfunction]
pub(crate) fn bridged_ready(py: Python<'_>, value: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move { Ok(value) })
}

#[pyfunction]
pub(crate) fn bridged_yielding(
    py: Python<'_>,
    value: Py<PyAny>,
    times: u32,
) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move {
        yields(times).await;
        Ok(value)
    })
}

#[pyfunction]
pub(crate) fn bridged_sleep(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        Ok(seconds)
    })
}

#[pyfunction]
pub(crate) fn bridged_socket(py: Python<'_>, port: u16) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, crate::round_trip(port))
}

#[pyfunction]
pub(crate) fn bridged_failing(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py::<_, ()>(py, async move { Err(PyOSError::new_err((5, "as asked"))) })
}

#[pyfunction]
pub(crate) fn bridged_await_python<'py>(
    py: Python<'py>,
    awaitable: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let future = into_future(awaitable)?;
    future_into_py(py, future)
}

/// Runs a Python loop from Rust until a Rust future that awaits Python is done.
#[pyfunction]
pub(crate) fn bridged_run(
    event_loop: Bound<'_, PyAny>,
    function: Py<PyAny>,
) -> PyResult<Py<PyAny>> {
    pyo3_async_runtimes::tokio::run_until_complete(event_loop, async move {
        yields(2).await;
        let future = Python::attach(|py| into_future(function.bind(py).call0()?))?;
        future.await
    })
}

/// Is never ready; counted when it is dropped.
#[pyfunction]
pub(crate) fn bridged_never(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py::<_, ()>(py, crate::futures::guarded(std::future::pending()))
}

/// Calls `function` on a worker, and awaits its result there.
#[pyfunction]
pub(crate) fn bridged_nested(py: Python<'_>, function: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async move {
        yields(1).await;
        let future = Python::attach(|py| into_future(function.bind(py).call0()?))?;
        future.await
    })
}

/// Stops the loop from a worker thread.
#[pyfunction]
pub(crate) fn bridged_stop(event_loop: Py<PyAny>) {
    pyo3_async_runtimes::tokio::get_runtime().spawn(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Python::attach(|py| {
            let event_loop = event_loop.bind(py);
            let stopped = event_loop
                .getattr("stop")
                .and_then(|stop| event_loop.call_method1("call_soon_threadsafe", (stop,)));
            if let Err(error) = stopped {
                error.write_unraisable(py, None);
            }
        });
    });
}
