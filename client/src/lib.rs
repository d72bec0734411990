//! Rust futures as Python awaitables, for extension modules written with [PyO3](pyo3).
//!
//! On a yamanote loop an awaitable made here is polled on the loop's own
//! thread, in place: whoever awaits it polls it, and a wake has it polled again between two Python
//! callbacks. No thread is switched and the GIL is not handed over. On every other asyncio loop the same functions go
//! through [`pyo3-async-runtimes`](https://docs.rs/pyo3-async-runtimes), so one extension serves all.
//!
//! ```no_run
//! use std::time::Duration;
//! use pyo3::prelude::*;
//! use yamanote_client as yamanote;
//!
//! #[pyfunction]
//! fn nap(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
//!     yamanote::future_into_py(py, async move {
//!         tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
//!         Ok(seconds)
//!     })
//! }
//! ```
//!
//! | Function | The future | Polled by |
//! | --- | --- | --- |
//! | [`future_into_py`] | `Send` | the loop's thread, between Python callbacks |
//! | [`local_future_into_py`] | any; yamanote only | the loop's thread, between Python callbacks |
//! | [`spawn`] | `Send`, much to compute | a worker that never takes the GIL |
//! | [`into_future`] | a Python awaitable, as a Rust future | |
//!
//! Cancelling the awaiting task drops the future; dropping what [`into_future`] made cancels the
//! Python task. A panic becomes a `RuntimeError`.
//!
//! An extension has its own copy of tokio, and what it awaits of tokio's (timers, sockets) belongs to the runtime of
//! this crate: `pyo3_async_runtimes::tokio::get_runtime()`. Only plain C passes between the extension and yamanote.

#[doc(hidden)]
pub mod abi;
#[doc(hidden)]
#[cfg_attr(
    unwinds_by_force,
    expect(unsafe_code, reason = "how a stack is unwound")
)]
pub mod finalizing;
mod python;
#[expect(unsafe_code, reason = "the C interface, called")]
mod raw;
mod remote;
mod runtime;

use std::future::Future;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

pub use python::{PyFuture, into_future};
pub use remote::EventLoop;
#[cfg(feature = "tokio")]
pub use runtime::spawn;

/// An awaitable for a future that any thread may poll.
///
/// On yamanote it is polled by whoever awaits it, inside the awaiting task's context, and again after
/// each wake; a future that is ready at once costs no turn of the loop. Elsewhere this is
/// `pyo3_async_runtimes::tokio::future_into_py`.
///
/// # Errors
///
/// `RuntimeError` when no event loop runs on this thread, or it cannot take the future.
#[cfg(feature = "tokio")]
pub fn future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    match raw::spawn(py, future, abi::ANY_THREAD) {
        Ok(awaitable) => Ok(awaitable),
        Err(raw::Refused::Error(error)) => Err(error),
        Err(raw::Refused::Foreign(future)) => {
            pyo3_async_runtimes::tokio::future_into_py(py, future)
        }
    }
}

/// An awaitable for a future that stays on the loop's thread, and need not be `Send`.
///
/// It is dropped there, too: an awaitable whose last reference goes on another thread sends it home.
///
/// # Errors
///
/// `RuntimeError` when no loop of yamanote's runs on this thread.
pub fn local_future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    with_flags(py, future, 0)
}

/// [`local_future_into_py`] for code that is linked with yamanote itself.
#[doc(hidden)]
pub fn linked_future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    with_flags(py, future, abi::INSIDE_RUNTIME)
}

fn with_flags<F, T>(py: Python<'_>, future: F, flags: u32) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    raw::spawn(py, future, flags).map_err(|refused| match refused {
        raw::Refused::Error(error) => error,
        raw::Refused::Foreign(_) => pyo3::exceptions::PyRuntimeError::new_err(
            "a future that is not Send can be awaited on yamanote's loop only",
        ),
    })
}

/// How many futures of the whole process are alive on yamanote's loops, those of [`spawn`] included.
///
/// # Errors
///
/// `RuntimeError` when no event loop runs on this thread.
pub fn live_futures(py: Python<'_>) -> PyResult<usize> {
    raw::live(py)
}

/// The loop that runs on this thread.
fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio.events", "get_running_loop")?
        .call0()
}

/// Has `callback` called soon, from any thread, on a loop that is not yamanote's.
fn call_soon_threadsafe(
    event_loop: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let name = intern!(event_loop.py(), "call_soon_threadsafe");
    event_loop.call_method1(name, (callback,)).map(drop)
}
