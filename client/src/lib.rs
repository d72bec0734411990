//! Rust futures as Python awaitables, for extension modules written with [PyO3](pyo3).
//!
//! On a yamanote loop, the future is polled on the loop's own thread: first when its awaitable is awaited, then,
//! after each wake, between two Python callbacks. No thread is switched, and the GIL is not handed over. On every
//! other asyncio loop, the same functions use
//! [`pyo3-async-runtimes`](https://docs.rs/pyo3-async-runtimes), so one extension works on all loops.
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
//! | [`spawn`] | `Send`, compute-intensive | a worker thread that never takes the GIL |
//! | [`into_future`] | a Python awaitable, as a Rust future | |
//!
//! Cancelling the awaiting task drops the future; dropping a future made by [`into_future`] cancels the
//! Python task. A panic becomes a `RuntimeError`.
//!
//! An extension has its own copy of tokio. The tokio timers and sockets that it awaits belong to the runtime of this
//! crate, `pyo3_async_runtimes::tokio::get_runtime()`. The extension and yamanote share only a C interface.

#[doc(hidden)]
pub mod abi;
#[doc(hidden)]
#[cfg_attr(
    unwinds_by_force,
    expect(unsafe_code, reason = "how a stack is unwound")
)]
pub mod finalizing;
mod names;
mod python;
#[expect(unsafe_code, reason = "the C interface, called")]
mod raw;
mod remote;
mod runtime;

use std::future::Future;

use pyo3::prelude::*;

use crate::names::{Function, Name};

pub use python::{PyFuture, into_future};
pub use remote::EventLoop;
#[cfg(feature = "tokio")]
pub use runtime::spawn;

/// Returns an awaitable for a future that any thread may poll.
///
/// On yamanote, the future is polled in the awaiting task's context when it is awaited, and again after each wake; a
/// future that is ready at once costs no turn of the loop. On other loops this is
/// `pyo3_async_runtimes::tokio::future_into_py`.
///
/// # Errors
///
/// `RuntimeError` if no event loop is running on this thread, or its C interface has an incompatible version.
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

/// Returns an awaitable for a future that stays on the loop's thread, and need not be `Send`.
///
/// The future is also dropped there, even if the last reference to its awaitable is released on another thread.
///
/// # Errors
///
/// `RuntimeError` if no yamanote loop is running on this thread.
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

/// [`future_into_py`] for the loop's own futures, on yamanote only.
#[doc(hidden)]
pub fn own_future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    with_flags(py, future, abi::ANY_THREAD)
}

fn with_flags<F, T>(py: Python<'_>, future: F, flags: u32) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    raw::spawn(py, future, flags).map_err(|refused| match refused {
        raw::Refused::Error(error) => error,
        raw::Refused::Foreign(_) => pyo3::exceptions::PyRuntimeError::new_err(
            "a future that is not Send can be awaited only on yamanote's loop",
        ),
    })
}

/// Returns the number of live futures on yamanote's loops in this process, those of [`spawn`] included.
///
/// # Errors
///
/// `RuntimeError` if no event loop is running on this thread.
pub fn live_futures(py: Python<'_>) -> PyResult<usize> {
    raw::live(py)
}

/// Returns the loop that is running on this thread.
fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: Function = Function::new("asyncio.events", "get_running_loop");
    GET.get(py)?.call0()
}

/// Schedules `callback` from any thread, on a loop that is not yamanote's.
fn call_soon_threadsafe(
    event_loop: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
) -> PyResult<()> {
    static CALL_SOON: Name = Name::new("call_soon_threadsafe");
    event_loop
        .call_method1(CALL_SOON.get(event_loop.py())?, (callback,))
        .map(drop)
}
