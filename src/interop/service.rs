//! Implements the functions of the capsule.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::awaitable;
use crate::driver::WAKERS;
use crate::ffi::capsule::{Refusal, Service, Wakers};
use crate::ffi::make;
use crate::ffi::pollable::{Completion, Pollable};
use crate::scheduler::{Core, Remote};
use crate::sys::clock::monotonic_ns;

pub(super) struct Extensions;

impl Service for Extensions {
    type Remote = Remote;

    const WAKERS: Wakers = WAKERS;

    fn running_loop(py: Python<'_>) -> Result<Bound<'_, PyAny>, Refusal> {
        static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let event_loop = make::imported(&GET, py, "asyncio.events", "_get_running_loop")
            .and_then(PyAnyMethods::call0)
            .map_err(Refusal::Python)?;
        if event_loop.is_none() {
            return Err(Refusal::NoLoop);
        }
        Ok(event_loop)
    }

    fn remote(event_loop: &Bound<'_, PyAny>) -> Result<Arc<Remote>, Refusal> {
        let core = event_loop
            .cast::<Core>()
            .map_err(|_| Refusal::Foreign)?
            .get();
        if core.is_closed() {
            return Err(Refusal::Closed);
        }
        Ok(Arc::clone(core.remote()))
    }

    fn wake(remote: &Remote) -> Result<(), Refusal> {
        if remote.wake() {
            Ok(())
        } else {
            Err(Refusal::Closed)
        }
    }

    fn submit(remote: &Remote, completion: Completion) -> Result<(), (Refusal, Completion)> {
        remote
            .submit(completion)
            .map_err(|completion| (Refusal::Closed, completion))
    }

    fn spawn<'py>(
        event_loop: &Bound<'py, PyAny>,
        pollable: Pollable,
    ) -> Result<Bound<'py, PyAny>, Refusal> {
        awaitable::new(event_loop, pollable)
    }

    fn cancel(awaitable: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        awaitable::cancel(awaitable)
    }

    fn clock_ns() -> u64 {
        monotonic_ns()
    }
}
