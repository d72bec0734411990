//! A stand-in for `src/interop/service.rs`: loops that only remember, and fail when they are told to.

use std::cell::{Cell, RefCell};
use std::panic::panic_any;
use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::object::Value;
use pyo3::prelude::*;

use crate::client::{RUNNING, abi};
use crate::ffi::capsule::{self, Refusal, Service, Wakers};
use crate::ffi::owner::THREAD;
use crate::ffi::pollable::{Completion, Pollable};
use crate::targets::PLANNED;

/// What the next call of the service does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    Raise,
    Panic,
}

/// A loop, as other threads hold it.
#[derive(Default)]
pub(super) struct Remote {
    pub(super) is_closed: Cell<bool>,
    pub(super) calls: RefCell<Vec<Completion>>,
    pub(super) wakes: Cell<usize>,
}

// SAFETY: there is one thread.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

/// The class of loops.
pub(super) struct Loop(pub(super) Arc<Remote>);

/// The class of awaitables.
pub(super) struct Awaitable(pub(super) RefCell<Option<Pollable>>);

/// What wakers point at.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) wakes: Cell<usize>,
}

pub(super) struct Extensions;

thread_local! {
    pub(super) static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// A new loop's object, and its half for threads.
pub(super) fn new_loop() -> (Py<PyAny>, Arc<Remote>) {
    let py = Python::token();
    let remote = Arc::new(Remote::default());
    let made = Py::new(Loop(Arc::clone(&remote))).into_any();
    let capsule = capsule::new::<Extensions>(py).expect("there is memory");
    made.bind(py)
        .setattr(abi::ATTRIBUTE, capsule)
        .expect("a place");
    (made, remote)
}

fn fault() -> Result<(), Refusal> {
    match FAULT.take() {
        None => Ok(()),
        Some(Fault::Raise) => Err(Refusal::Python(PyRuntimeError::new_err(PLANNED))),
        Some(Fault::Panic) => panic_any(PLANNED),
    }
}

fn open_loop<'a>(event_loop: &'a Bound<'_, PyAny>) -> Result<&'a Arc<Remote>, Refusal> {
    let Loop(remote) = event_loop.get().ok_or(Refusal::Foreign)?;
    if remote.is_closed.get() {
        return Err(Refusal::Closed);
    }
    Ok(remote)
}

impl Service for Extensions {
    type Remote = Remote;

    const WAKERS: Wakers = Wakers {
        clone,
        wake,
        wake_by_ref,
        drop: release,
    };

    fn running_loop(py: Python<'_>) -> Result<Bound<'_, PyAny>, Refusal> {
        let running = RUNNING.with_borrow(Option::clone);
        running
            .map(|running| running.into_bound(py))
            .ok_or(Refusal::NoLoop)
    }

    fn remote(event_loop: &Bound<'_, PyAny>) -> Result<Arc<Remote>, Refusal> {
        open_loop(event_loop).cloned()
    }

    fn wake(remote: &Remote) -> Result<(), Refusal> {
        fault()?;
        remote.wakes.set(remote.wakes.get() + 1);
        if remote.is_closed.get() {
            Err(Refusal::Closed)
        } else {
            Ok(())
        }
    }

    fn submit(remote: &Remote, completion: Completion) -> Result<(), (Refusal, Completion)> {
        if remote.is_closed.get() {
            return Err((Refusal::Closed, completion));
        }
        remote.calls.borrow_mut().push(completion);
        Ok(())
    }

    fn spawn<'py>(
        event_loop: &Bound<'py, PyAny>,
        mut pollable: Pollable,
    ) -> Result<Bound<'py, PyAny>, Refusal> {
        open_loop(event_loop)?;
        if THREAD.get() != 0 {
            return Err(Refusal::WrongThread);
        }
        fault()?;
        pollable.adopt();
        let made = Py::new(Awaitable(RefCell::new(Some(pollable))));
        Ok(made.into_any().into_bound(event_loop.py()))
    }

    fn cancel(awaitable: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        let Awaitable(pollable) = awaitable.get().ok_or(Refusal::Foreign)?;
        fault()?;
        let pollable = pollable.take();
        pollable.map(drop).ok_or(Refusal::Done)
    }

    fn clock_ns() -> u64 {
        42
    }
}

unsafe extern "C" fn clone(waker: *const abi::Waker) -> *const abi::Waker {
    // SAFETY: a waker of ours, which the caller holds.
    unsafe { Arc::increment_strong_count(waker.cast::<Slot>()) };
    waker
}

unsafe extern "C" fn wake(waker: *const abi::Waker) {
    // SAFETY: as above.
    unsafe { wake_by_ref(waker) };
    // SAFETY: as above; the caller gives it up.
    unsafe { release(waker) };
}

unsafe extern "C" fn wake_by_ref(waker: *const abi::Waker) {
    // SAFETY: as above.
    let slot = unsafe { &*waker.cast::<Slot>() };
    slot.wakes.set(slot.wakes.get() + 1);
}

unsafe extern "C" fn release(waker: *const abi::Waker) {
    // SAFETY: as above; the caller gives it up.
    drop(unsafe { Arc::from_raw(waker.cast::<Slot>()) });
}
