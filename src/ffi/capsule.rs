//! `loop.__yamanote_c_api__`: the table of C functions that other extensions call.
//!
//! A [`Service`] implements the functions; this file checks their arguments and catches their panics.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use yamanote_client::abi::{self, Api};

use super::panics::raise;
use super::pollable::{self, Completion, Pollable};
use super::reference::{borrowed, returned};

/// Implements the table's functions.
pub(crate) trait Service: Sized + 'static {
    /// A reference to a loop that any thread may hold.
    type Remote: Send + Sync;

    /// The waker functions. [`Service::spawn`] passes the pollables wakers for them.
    const WAKERS: Wakers;

    fn running_loop(py: Python<'_>) -> Result<Bound<'_, PyAny>, Refusal>;
    fn remote(event_loop: &Bound<'_, PyAny>) -> Result<Arc<Self::Remote>, Refusal>;
    fn wake(remote: &Self::Remote) -> Result<(), Refusal>;
    fn submit(remote: &Self::Remote, completion: Completion) -> Result<(), (Refusal, Completion)>;
    /// Adopts the pollable once nothing can fail any more.
    fn spawn<'py>(
        event_loop: &Bound<'py, PyAny>,
        pollable: Pollable,
    ) -> Result<Bound<'py, PyAny>, Refusal>;
    fn cancel(awaitable: &Bound<'_, PyAny>) -> Result<(), Refusal>;
    fn clock_ns() -> u64;
}

/// The four functions of a waker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wakers {
    pub(crate) clone: unsafe extern "C" fn(*const abi::Waker) -> *const abi::Waker,
    pub(crate) wake: unsafe extern "C" fn(*const abi::Waker),
    pub(crate) wake_by_ref: unsafe extern "C" fn(*const abi::Waker),
    pub(crate) drop: unsafe extern "C" fn(*const abi::Waker),
}

/// Why a call was refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    Python(PyErr),
    Closed,
    WrongThread,
    Foreign,
    NoLoop,
    Done,
}

/// Creates a capsule with the table of `S`.
pub(crate) fn new<S: Service>(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let table: *const Api = &raw const *Table::<S>::API;
    // SAFETY: attached; the table and the name are static, and no code writes through the pointer.
    let capsule = unsafe { ffi::PyCapsule_New(table.cast_mut().cast(), abi::NAME.as_ptr(), None) };
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { returned(py, capsule) }
}

struct Table<S>(PhantomData<S>);

impl<S: Service> Table<S> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a table of a hundred bytes"
    )]
    const API: &'static Api = &Api {
        version: (abi::MAJOR as u32) << 16 | abi::MINOR as u32,
        size: size_of::<Api>() as u32,
        loop_acquire: loop_acquire::<S>,
        loop_retain: loop_retain::<S>,
        loop_release: loop_release::<S>,
        wake: wake::<S>,
        submit: submit::<S>,
        spawn: spawn::<S>,
        cancel: cancel::<S>,
        clock_ns: clock_ns::<S>,
        live,
        waker_clone: S::WAKERS.clone,
        waker_wake: S::WAKERS.wake,
        waker_wake_by_ref: S::WAKERS.wake_by_ref,
        waker_drop: S::WAKERS.drop,
    };
}

unsafe extern "C" fn loop_acquire<S: Service>(
    event_loop: *mut ffi::PyObject,
    out: *mut *const abi::Loop,
) -> c_int {
    if out.is_null() {
        return abi::INVALID;
    }
    attached(|py| {
        // SAFETY: null, or a live object, as the header requires.
        let remote = S::remote(&unsafe { loop_or_running::<S>(py, event_loop) }?)?;
        // SAFETY: writable, as the header requires.
        unsafe { out.write(Arc::into_raw(remote).cast()) };
        Ok(())
    })
}

unsafe extern "C" fn loop_retain<S: Service>(event_loop: *const abi::Loop) -> c_int {
    if event_loop.is_null() {
        return abi::INVALID;
    }
    // SAFETY: a live reference made by `loop_acquire`, as the header requires.
    unsafe { Arc::increment_strong_count(event_loop.cast::<S::Remote>()) };
    abi::OK
}

unsafe extern "C" fn loop_release<S: Service>(event_loop: *const abi::Loop) {
    if !event_loop.is_null() {
        // SAFETY: a live reference made by `loop_acquire`, which the caller gives up, as the header requires.
        let remote = unsafe { Arc::from_raw(event_loop.cast::<S::Remote>()) };
        guarded(|| {
            drop(remote);
            Ok(())
        });
    }
}

unsafe extern "C" fn wake<S: Service>(event_loop: *const abi::Loop) -> c_int {
    // SAFETY: the caller guarantees it, as the header requires.
    let Some(remote) = (unsafe { lent::<S>(event_loop) }) else {
        return abi::INVALID;
    };
    guarded(|| S::wake(&remote))
}

unsafe extern "C" fn submit<S: Service>(
    event_loop: *const abi::Loop,
    callback: Option<abi::Callback>,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the caller guarantees it, as the header requires.
    let remote = unsafe { lent::<S>(event_loop) };
    let (Some(remote), Some(callback)) = (remote, callback) else {
        return abi::INVALID;
    };
    guarded(|| {
        // SAFETY: the caller guarantees it, as the header requires; given back below if it is refused.
        let completion = unsafe { Completion::new(data, callback) };
        S::submit(&remote, completion).map_err(|(refusal, completion)| {
            completion.give_back();
            refusal
        })
    })
}

unsafe extern "C" fn spawn<S: Service>(
    event_loop: *mut ffi::PyObject,
    functions: *const abi::PollableFunctions,
    data: *mut c_void,
    flags: u32,
    awaitable: *mut *mut ffi::PyObject,
) -> c_int {
    if functions.is_null() || awaitable.is_null() {
        return abi::INVALID;
    }
    if flags & !(abi::ANY_THREAD | abi::INSIDE_RUNTIME) != 0 {
        return abi::INVALID;
    }
    attached(|py| {
        // SAFETY: null, or a live object, as the header requires.
        let event_loop = unsafe { loop_or_running::<S>(py, event_loop) }?;
        // SAFETY: readable, as the header requires.
        let functions = unsafe { functions.read() };
        // SAFETY: as the header requires; if it is refused, or a panic ends the call, it is not adopted.
        let pollable = unsafe { Pollable::new(py, data, functions, flags) };
        let made = S::spawn(&event_loop, pollable)?;
        // SAFETY: writable, as the header requires.
        unsafe { awaitable.write(made.into_ptr()) };
        Ok(())
    })
}

unsafe extern "C" fn cancel<S: Service>(awaitable: *mut ffi::PyObject) -> c_int {
    if awaitable.is_null() {
        return abi::INVALID;
    }
    attached(|py| {
        // SAFETY: a live object, as the header requires.
        S::cancel(unsafe { borrowed(py, &awaitable) })
    })
}

unsafe extern "C" fn clock_ns<S: Service>() -> u64 {
    S::clock_ns()
}

unsafe extern "C" fn live() -> usize {
    pollable::live()
}

/// # Safety
///
/// The thread is attached; `event_loop` is a live object, or null for the loop that runs on this thread.
unsafe fn loop_or_running<S: Service>(
    py: Python<'_>,
    event_loop: *mut ffi::PyObject,
) -> Result<Bound<'_, PyAny>, Refusal> {
    if event_loop.is_null() {
        return S::running_loop(py);
    }
    // SAFETY: guaranteed by the caller.
    Ok(unsafe { borrowed::<PyAny>(py, &event_loop) }.clone())
}

/// # Safety
///
/// `event_loop` is null or a live reference made by `loop_acquire`.
unsafe fn lent<S: Service>(event_loop: *const abi::Loop) -> Option<ManuallyDrop<Arc<S::Remote>>> {
    // SAFETY: the caller guarantees it; `ManuallyDrop` does not release the reference.
    (!event_loop.is_null()).then(|| ManuallyDrop::new(unsafe { Arc::from_raw(event_loop.cast()) }))
}

/// Handles a call from C that must be attached, as the header requires.
fn attached(call: impl for<'py> FnOnce(Python<'py>) -> Result<(), Refusal>) -> c_int {
    // SAFETY: may be called by any thread at any time.
    if unsafe { ffi::PyGILState_Check() } == 0 {
        return abi::WRONG_THREAD;
    }
    // SAFETY: attached, as just checked.
    unsafe { Python::attach_unchecked(|py| guarded(|| call(py))) }
}

fn guarded(call: impl FnOnce() -> Result<(), Refusal>) -> c_int {
    let refusal = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return abi::OK,
        Ok(Err(refusal)) => refusal,
        // The panic hook has printed it, and the operation was not done.
        Err(_) => return abi::INVALID,
    };
    match refusal {
        Refusal::Python(error) => {
            // Attached: only functions that take a `Python<'_>` raise.
            let restore = |py: Python<'_>| raise(py, error);
            match Python::try_attach(restore) {
                Some(()) => abi::EXCEPTION,
                None => abi::INVALID,
            }
        }
        Refusal::Closed => abi::CLOSED,
        Refusal::WrongThread => abi::WRONG_THREAD,
        Refusal::Foreign => abi::FOREIGN,
        Refusal::NoLoop => abi::NO_LOOP,
        Refusal::Done => abi::DONE,
    }
}
