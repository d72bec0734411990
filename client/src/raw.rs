//! Calls through the capsule. Only this module and `finalizing` contain `unsafe` code.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use pyo3::BoundObject;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::abi::{self, Api, PollableFunctions};
use crate::names::Name;

/// The function table of the yamanote in this process; null until its first loop is seen.
static API: AtomicPtr<Api> = AtomicPtr::new(ptr::null_mut());

/// Why `spawn` did not take a future.
pub(crate) enum Refused<F> {
    /// The loop running on this thread is not yamanote's; the future is returned.
    Foreign(F),
    Error(PyErr),
}

/// Returns an awaitable that polls `future` on the loop running on this thread.
pub(crate) fn spawn<'py, F, T>(
    py: Python<'py>,
    future: F,
    flags: u32,
) -> Result<Bound<'py, PyAny>, Refused<F>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'a> IntoPyObject<'a> + 'static,
{
    let api = match api(py) {
        Ok(Some(api)) => api,
        Ok(None) => return Err(Refused::Foreign(future)),
        Err(error) => return Err(Refused::Error(error)),
    };
    let data = Box::into_raw(Box::new(future));
    let mut awaitable = ptr::null_mut();
    let functions: *const PollableFunctions = &raw const *Body::<F, T>::FUNCTIONS;
    // SAFETY: attached; null means the running loop; the functions match the type that `data` points to; callers
    // set `ANY_THREAD` only for a future that is `Send`; `awaitable` is writable.
    let code = unsafe {
        (api.spawn)(
            ptr::null_mut(),
            functions,
            data.cast(),
            flags,
            &raw mut awaitable,
        )
    };
    if code == abi::OK {
        // SAFETY: on `OK`, `awaitable` is a new reference.
        return Ok(unsafe { Bound::from_owned_ptr(py, awaitable) });
    }
    // SAFETY: created above; on any other code it is still ours.
    let future = *unsafe { Box::from_raw(data) };
    Err(if code == abi::FOREIGN {
        Refused::Foreign(future)
    } else {
        Refused::Error(error(py, code))
    })
}

/// Returns the table, or `None` if none was seen so far and the running loop has none.
fn api(py: Python<'_>) -> PyResult<Option<&'static Api>> {
    let known = API.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: published by `look_up`; the table lives as long as the process.
        return Ok(Some(unsafe { &*known }));
    }
    look_up(&crate::running_loop(py)?)
}

/// Returns the table of a loop, or `None` if the loop is not yamanote's.
#[cold]
fn look_up(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<&'static Api>> {
    static ATTRIBUTE: Name = Name::new(abi::ATTRIBUTE);
    let Some(capsule) = event_loop.getattr_opt(ATTRIBUTE.get(event_loop.py())?)? else {
        return Ok(None);
    };
    // SAFETY: attached; the function accepts any object.
    if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), abi::NAME.as_ptr()) } == 0 {
        return Err(PyRuntimeError::new_err(
            "__yamanote_c_api__ is not yamanote's capsule",
        ));
    }
    // SAFETY: the object is a capsule of that name, as just checked.
    let table = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), abi::NAME.as_ptr()) };
    // SAFETY: in every version, the table begins with its version and size.
    let [version, size] = unsafe { table.cast::<[u32; 2]>().read() };
    if version >> 16 != u32::from(abi::MAJOR) || (size as usize) < size_of::<Api>() {
        return Err(PyRuntimeError::new_err(format!(
            "yamanote has version {}.{} of its C interface, but the extension needs {}.{}",
            version >> 16,
            version & 0xffff,
            abi::MAJOR,
            abi::MINOR
        )));
    }
    crate::finalizing::hang_instead_of_unwinding();
    API.store(table.cast(), Ordering::Release);
    // SAFETY: a table of our major version, at least as long as ours, which lives as long as the process.
    Ok(Some(unsafe { &*table.cast::<Api>() }))
}

fn error(py: Python<'_>, code: c_int) -> PyErr {
    PyRuntimeError::new_err(match code {
        abi::EXCEPTION => return PyErr::fetch(py),
        abi::CLOSED => "Event loop is closed",
        abi::WRONG_THREAD => {
            "Non-thread-safe operation invoked on an event loop other than the current one"
        }
        abi::NO_LOOP => "no running event loop",
        abi::FOREIGN => "the event loop is not yamanote's",
        _ => "yamanote refused the call",
    })
}

/// Returns the number of live futures of all extensions on yamanote's loops.
pub(crate) fn live(py: Python<'_>) -> PyResult<usize> {
    // SAFETY: without preconditions.
    Ok(api(py)?.map_or(0, |api| unsafe { (api.live)() }))
}

/// The `PollableFunctions` for one type of future.
struct Body<F, T>(F, T);

impl<F, T> Body<F, T>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    const FUNCTIONS: &'static PollableFunctions = &PollableFunctions {
        poll: Self::poll,
        drop: Self::drop,
    };

    unsafe extern "C" fn poll(
        data: *mut c_void,
        waker: *const abi::Waker,
        result: *mut *mut ffi::PyObject,
    ) -> c_int {
        // SAFETY: the waker is borrowed for the call: `ManuallyDrop` keeps the loop's reference.
        let waker = ManuallyDrop::new(unsafe { Waker::new(waker.cast(), &WAKER) });
        let poll = |py: Python<'_>| {
            // SAFETY: created by `spawn`, alive, and polled by one caller at a time.
            let future = unsafe { &mut *data.cast::<F>() };
            // SAFETY: boxed, and never moved until it is dropped in place.
            let future = unsafe { Pin::new_unchecked(future) };
            let polled = catch_unwind(AssertUnwindSafe(|| {
                let _inside = crate::runtime::enter();
                match future.poll(&mut Context::from_waker(&waker)) {
                    Poll::Pending => None,
                    Poll::Ready(Ok(value)) => Some(into_python(py, value)),
                    Poll::Ready(Err(error)) => Some(Err(error)),
                }
            }));
            let error = match polled {
                Ok(None) => return abi::PENDING,
                Ok(Some(Ok(object))) => {
                    // SAFETY: `result` is writable during the call.
                    unsafe { result.write(object.into_ptr()) };
                    return abi::READY;
                }
                Ok(Some(Err(error))) => error,
                Err(panic) => panicked(&*panic),
            };
            error.restore(py);
            abi::FAILED
        };
        // SAFETY: called attached. This informs this copy of PyO3, so that it drops references at once.
        unsafe { Python::attach_unchecked(poll) }
    }

    unsafe extern "C" fn drop(data: *mut c_void) {
        let release = |_: Python<'_>| {
            // SAFETY: created by `spawn`, and dropped once, here.
            let future = unsafe { Box::from_raw(data.cast::<F>()) };
            // Ignored: the panic hook has printed the panic, and there is no caller to receive it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        };
        // SAFETY: called attached.
        unsafe { Python::attach_unchecked(release) }
    }
}

fn into_python<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    value: T,
) -> PyResult<Bound<'py, PyAny>> {
    value
        .into_pyobject(py)
        .map(|object| object.into_any().into_bound())
        .map_err(Into::into)
}

/// Returns the exception that the awaiting task gets for a panic.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> PyErr {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    PyRuntimeError::new_err(format!("a Rust future panicked: {said}"))
}

/// Returns the table for a waker's functions: wakers exist only after the table was found.
fn waking() -> &'static Api {
    // SAFETY: published before the first future was spawned, hence before the first waker existed.
    unsafe { &*API.load(Ordering::Acquire) }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |waker| {
        // SAFETY: a waker's pointer is a live reference to a waker of yamanote's.
        let clone = unsafe { (waking().waker_clone)(waker.cast()) };
        RawWaker::new(clone.cast(), &WAKER)
    },
    // SAFETY: as above; the call consumes the reference.
    |waker| unsafe { (waking().waker_wake)(waker.cast()) },
    // SAFETY: as above; the call borrows the reference.
    |waker| unsafe { (waking().waker_wake_by_ref)(waker.cast()) },
    // SAFETY: as above; the call consumes the reference.
    |waker| unsafe { (waking().waker_drop)(waker.cast()) },
);

/// A reference to one of yamanote's loops, usable on any thread.
pub(crate) struct Remote {
    api: &'static Api,
    raw: *const abi::Loop,
}

// SAFETY: `wake`, `submit`, `loop_retain` and `loop_release` may be called on any thread.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

impl Remote {
    /// Returns `None` if the loop is not yamanote's.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let Some(api) = look_up(event_loop)? else {
            return Ok(None);
        };
        let mut raw = ptr::null();
        // SAFETY: attached; the object is alive, and `raw` is writable.
        match unsafe { (api.loop_acquire)(event_loop.as_ptr(), &raw mut raw) } {
            abi::OK => Ok(Some(Self { api, raw })),
            abi::FOREIGN => Ok(None),
            code => Err(error(event_loop.py(), code)),
        }
    }

    pub(crate) fn wake(&self) -> bool {
        // SAFETY: a live reference.
        unsafe { (self.api.wake)(self.raw) == abi::OK }
    }

    /// Schedules `call` on the loop's thread. If the loop is closed first, `call` gets `None`, on any thread. Returns
    /// `false` if the loop is closed already; `call` was then dropped.
    pub(crate) fn submit(&self, call: impl FnOnce(Option<Python<'_>>) + Send + 'static) -> bool {
        let call: Call = Box::new(call);
        let data = Box::into_raw(Box::new(call));
        // SAFETY: a live reference; `called` accepts this type of `data`, and is called at most once.
        let code = unsafe { (self.api.submit)(self.raw, Some(called), data.cast()) };
        if code != abi::OK {
            // SAFETY: created above; on any code but `OK` it is still ours.
            drop(unsafe { Box::from_raw(data) });
        }
        code == abi::OK
    }
}

type Call = Box<dyn FnOnce(Option<Python<'_>>) + Send>;

unsafe extern "C" fn called(data: *mut c_void, status: c_int) {
    // SAFETY: created by `submit`, and consumed once, here.
    let call = *unsafe { Box::from_raw(data.cast::<Call>()) };
    // Ignored: the panic hook has printed the panic, and there is no caller to receive it.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if status == abi::OK {
            // SAFETY: `OK` means that the thread is attached.
            unsafe { Python::attach_unchecked(|py| call(Some(py))) };
        } else {
            call(None);
        }
    }));
}

impl Clone for Remote {
    fn clone(&self) -> Self {
        // SAFETY: a live reference.
        unsafe { (self.api.loop_retain)(self.raw) };
        Self {
            api: self.api,
            raw: self.raw,
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // SAFETY: releases the reference that this value owns.
        unsafe { (self.api.loop_release)(self.raw) };
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Remote").finish_non_exhaustive()
    }
}
