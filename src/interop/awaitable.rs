//! The object that an extension returns to Python: a coroutine whose body is a Rust future.

use std::ffi::CStr;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use pyo3::prelude::*;

use super::pending::Pending;
use super::waiter::{self, Waiter};
use crate::ffi::capsule::Refusal;
use crate::ffi::pollable::Pollable;
use crate::ffi::{
    Class, Coroutine, Members, NativeClass, Step, Visitor, data, downcast, new_instance,
};
use crate::scheduler::Core;

/// `RustFuture`: asyncio treats it as a coroutine, so tasks, `gather`, `wait_for` and similar functions accept it
/// directly.
#[derive(Debug)]
pub(crate) struct Awaitable {
    core: Py<Core>,
    pending: Arc<Pending>,
    /// The object that the awaiting task waits on, created when the task first has to wait.
    waiter: OnceLock<Py<Waiter>>,
}

/// Creates an awaitable that polls `pollable`. The loop must be open, and belong to this thread.
pub(super) fn new<'py>(
    event_loop: &Bound<'py, PyAny>,
    pollable: Pollable,
) -> Result<Bound<'py, PyAny>, Refusal> {
    let py = event_loop.py();
    let Ok(core) = event_loop.cast::<Core>() else {
        return Err(Refusal::Foreign);
    };
    let this = core.get();
    if this.is_closed() {
        return Err(Refusal::Closed);
    }
    if this.owner().running_thread().is_some() && !this.owner().is_running_here(py) {
        return Err(Refusal::WrongThread);
    }
    let Some(local) = this.try_local(py) else {
        return Err(Refusal::WrongThread);
    };
    let pending = Pending::new(&local, pollable);
    drop(local);
    let made = new_instance(
        py,
        Awaitable {
            core: core.clone().unbind(),
            pending: Arc::clone(&pending),
            waiter: OnceLock::new(),
        },
    );
    match made {
        Ok(made) => {
            pending.adopt(py, this);
            Ok(made.into_any())
        }
        Err(error) => {
            // Not adopted: it still belongs to the caller.
            drop(pending.take_back(py, this));
            Err(Refusal::Python(error))
        }
    }
}

/// Drops the pollable; awaiting it now or later raises `CancelledError`.
pub(super) fn cancel(awaitable: &Bound<'_, PyAny>) -> Result<(), Refusal> {
    let py = awaitable.py();
    let this = data(downcast::<Awaitable>(awaitable).ok_or(Refusal::Foreign)?);
    this.pending.cancel(py, this.core.get())
}

impl Coroutine for Awaitable {
    /// Accepts any value that is sent, and ignores it.
    fn has_begun(_this: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(true)
    }

    fn step<'py>(this: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let py = this.py();
        let this = data(this);
        match this.pending.step(this.core.bind(py))? {
            Poll::Ready(value) => Ok(Step::Done(value.into_bound(py))),
            Poll::Pending => {
                let waiter = if let Some(waiter) = this.waiter.get() {
                    waiter.bind(py).clone()
                } else {
                    let made = waiter::new(this.core.bind(py), Arc::clone(&this.pending))?;
                    // Ignored: another thread set its own first, which is equivalent.
                    let _ = this.waiter.set(made.clone().unbind());
                    made
                };
                data(&waiter).block();
                Ok(Step::Wait(waiter.into_any()))
            }
        }
    }

    fn throw<'py>(this: &Bound<'py, Self>, error: PyErr) -> PyResult<Step<'py>> {
        Self::close(this)?;
        Err(error)
    }

    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        data(this).pending.close(this.py(), data(this).core.get())
    }
}

impl NativeClass for Awaitable {
    const NAME: &'static CStr = c"yamanote._yamanote.RustFuture";
    const DOC: &'static CStr =
        c"A future of an extension written in Rust or C, to be awaited once.\n\n\
        The task that awaits it polls it; asyncio treats it as a coroutine.";

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn members() -> Members {
        Members::default().coroutine::<Self>()
    }

    fn traverse(&self, visitor: &mut Visitor<'_>) {
        visitor.object(&self.core);
        visitor.option(self.waiter.get());
    }

    fn clear(&self, py: Python<'_>) {
        self.abandon(py);
    }

    fn finalize(this: &Bound<'_, Self>) {
        data(this).abandon(this.py());
    }

    fn repr(_this: &Bound<'_, Self>) -> PyResult<String> {
        Ok("<RustFuture>".to_owned())
    }
}

impl Awaitable {
    /// Gives the future up: its result will not be awaited.
    fn abandon(&self, py: Python<'_>) {
        // Ignored: on a foreign thread the error cannot be reported, and closing the loop drops the future.
        drop(self.pending.abandon(py, self.core.get()));
    }
}
