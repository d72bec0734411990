//! The extension's own tokio runtime, shared with pyo3-async-runtimes.

#[cfg(feature = "tokio")]
pub(crate) use with_tokio::enter;
#[cfg(feature = "tokio")]
pub use with_tokio::spawn;

/// Replaces `EnterGuard` without tokio.
#[cfg(not(feature = "tokio"))]
pub(crate) struct Nothing;

/// Does nothing: without tokio there is no runtime to enter.
#[cfg(not(feature = "tokio"))]
pub(crate) fn enter() -> Nothing {
    Nothing
}

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use pyo3::exceptions::PyRuntimeError;
    use pyo3::prelude::*;
    use pyo3_async_runtimes::tokio::get_runtime;
    use tokio::runtime::EnterGuard;
    use tokio::task::JoinHandle;

    use crate::{future_into_py, raw};

    /// Enters the runtime, which tokio's timers and sockets look up when they are created.
    pub(crate) fn enter() -> EnterGuard<'static> {
        get_runtime().enter()
    }

    /// Starts a future on a worker thread, and returns an awaitable for its result.
    ///
    /// Workers never take the GIL: results are converted on the loop's thread, several per wake. Dropping or
    /// cancelling the awaitable aborts the future at its next `await`.
    ///
    /// # Errors
    ///
    /// `RuntimeError` if no event loop is running on this thread.
    pub fn spawn<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
    where
        F: Future<Output = PyResult<T>> + Send + 'static,
        T: for<'py> IntoPyObject<'py> + Send + 'static,
    {
        future_into_py(py, Spawned(get_runtime().spawn(future)))
    }

    /// A tokio task that is aborted when this is dropped, so that it does not outlive its awaitable.
    struct Spawned<T>(JoinHandle<PyResult<T>>);

    impl<T> Future for Spawned<T> {
        type Output = PyResult<T>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<PyResult<T>> {
            Pin::new(&mut self.0).poll(context).map(|joined| {
                joined.unwrap_or_else(|failure| {
                    Err(match failure.try_into_panic() {
                        Ok(panic) => raw::panicked(&*panic),
                        Err(_) => PyRuntimeError::new_err("the runtime was shut down"),
                    })
                })
            })
        }
    }

    impl<T> Drop for Spawned<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
}
