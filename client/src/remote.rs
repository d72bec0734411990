//! A loop as other threads know it.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use crate::python::{self, PyFuture};
use crate::raw::Remote;

/// An event loop, for any thread to keep and call.
///
/// On yamanote none of its methods but [`into_future`](Self::into_future) takes the GIL.
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
    /// The loop that runs on this thread.
    ///
    /// # Errors
    ///
    /// `RuntimeError` when there is none.
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

    /// Has `call` called on the loop's thread in a coming turn, or dropped when the loop is closed.
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
                // Ignored when the interpreter is gone: so is the loop.
                Python::try_attach(move |py| {
                    let call = std::sync::Mutex::new(Some(call));
                    let callback =
                        PyCFunction::new_closure(py, None, None, move |arguments, _| {
                            let taken = call.lock().ok().and_then(|mut call| call.take());
                            if let Some(call) = taken {
                                call(arguments.py());
                            }
                        })?;
                    // Ignored: a closed loop calls nobody.
                    drop(crate::call_soon_threadsafe(event_loop.bind(py), &callback));
                    PyResult::Ok(())
                });
            }
        }
    }

    /// Ends the loop's wait, if it waits; its turn then finds what other means have left for it.
    pub fn wake(&self) {
        match &self.kind {
            Kind::Yamanote(remote) => {
                // Ignored: a closed loop does not wait.
                let _ = remote.wake();
            }
            Kind::Other(_) => self.call(|_| {}),
        }
    }

    /// [`into_future`](crate::into_future) on this loop, from whichever thread.
    ///
    /// # Errors
    ///
    /// What `asyncio.ensure_future` raises when called on the loop's own thread; elsewhere, that comes as the future's result.
    pub fn into_future(&self, awaitable: Bound<'_, PyAny>) -> PyResult<PyFuture> {
        python::on_loop(self.clone(), awaitable)
    }

    /// Whether this is the thread that the loop ran on when it was asked for.
    pub(crate) fn is_here(&self) -> bool {
        thread::current().id() == self.home
    }
}
