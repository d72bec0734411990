//! Handles to a loop for other threads.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use crate::python::{self, PyFuture};
use crate::raw::Remote;

/// A handle to an event loop, which any thread may keep and use.
///
/// For a yamanote loop, no method except [`running`](Self::running) and [`into_future`](Self::into_future) needs the
/// GIL.
#[derive(Clone, Debug)]
pub struct EventLoop {
    kind: Kind,
    home: ThreadId,
}

#[derive(Clone, Debug)]
enum Kind {
    Yamanote(Remote),
    Other(Arc<Py<PyAny>>),
}

impl EventLoop {
    /// Returns the loop that is running on this thread.
    ///
    /// # Errors
    ///
    /// `RuntimeError` if no loop is running.
    pub fn running(py: Python<'_>) -> PyResult<Self> {
        let event_loop = crate::running_loop(py)?;
        let kind = match Remote::new(&event_loop)? {
            Some(remote) => Kind::Yamanote(remote),
            None => Kind::Other(Arc::new(event_loop.unbind())),
        };
        Ok(Self {
            kind,
            home: thread::current().id(),
        })
    }

    /// Schedules `call` for a later turn on the loop's thread. If the loop is closed first, `call` is dropped.
    pub fn call(&self, call: impl FnOnce(Python<'_>) + Send + 'static) {
        match &self.kind {
            Kind::Yamanote(remote) => {
                remote.submit(|py| {
                    if let Some(py) = py {
                        call(py);
                    }
                });
            }
            Kind::Other(event_loop) => {
                let event_loop = Arc::clone(event_loop);
                // Ignored: fails only if the interpreter is finalized, and the loop with it.
                Python::try_attach(move |py| {
                    let call = std::sync::Mutex::new(Some(call));
                    let callback =
                        PyCFunction::new_closure(py, None, None, move |arguments, _| {
                            let taken = call.lock().ok().and_then(|mut call| call.take());
                            if let Some(call) = taken {
                                call(arguments.py());
                            }
                        })?;
                    // Ignored: fails only if the loop is closed, which then drops the call.
                    drop(crate::call_soon_threadsafe(event_loop.bind(py), &callback));
                    PyResult::Ok(())
                });
            }
        }
    }

    /// Ends the loop's wait, if it is waiting, so that it makes a turn.
    pub fn wake(&self) {
        match &self.kind {
            Kind::Yamanote(remote) => {
                // Ignored: a closed loop does not wait.
                let _ = remote.wake();
            }
            Kind::Other(_) => self.call(|_| {}),
        }
    }

    /// Like [`into_future`](crate::into_future), on this loop, from any thread.
    ///
    /// # Errors
    ///
    /// On the loop's own thread, what `asyncio.ensure_future` raises. On other threads, the future resolves to that
    /// error.
    pub fn into_future(&self, awaitable: Bound<'_, PyAny>) -> PyResult<PyFuture> {
        python::on_loop(self.clone(), awaitable)
    }

    /// Returns whether the current thread is the one on which this handle was created by `running`.
    pub(crate) fn is_here(&self) -> bool {
        thread::current().id() == self.home
    }
}
