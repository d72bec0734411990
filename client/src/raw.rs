//! The capsule, called: with `finalizing` the only room with `unsafe`.

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

/// The table of the yamanote in this process; null until the first loop of its was seen.
static API: AtomicPtr<Api> = AtomicPtr::new(ptr::null_mut());

/// Why a future was given back.
pub(crate) enum Refused<F> {
    /// The loop that runs on this thread is not yamanote's.
    Foreign(F),
    Error(PyErr),
}

/// An awaitable of the loop that runs on this thread.
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
    // SAFETY: attached; null stands for the running loop; the functions are those of what `data` points at, and
    // say `ANY_THREAD` only where the caller's future is `Send`; `awaitable` is writable.
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
        // SAFETY: a new reference, as `OK` says.
        return Ok(unsafe { Bound::from_owned_ptr(py, awaitable) });
    }
    // SAFETY: made above, and still ours, as the code says.
    let future = *unsafe { Box::from_raw(data) };
    Err(if code == abi::FOREIGN {
        Refused::Foreign(future)
    } else {
        Refused::Error(error(py, code))
    })
}

/// The table, or `None` while the process has shown none and the running loop has none.
fn api(py: Python<'_>) -> PyResult<Option<&'static Api>> {
    let known = API.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: published by `look_up`; the table lives as long as the process.
        return Ok(Some(unsafe { &*known }));
    }
    look_up(&crate::running_loop(py)?)
}

/// The table of a loop, or `None` when it is not yamanote's.
#[cold]
fn look_up(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<&'static Api>> {
    let Some(capsule) = event_loop.getattr_opt(abi::ATTRIBUTE)? else {
        return Ok(None);
    };
    // SAFETY: attached; anything may be asked whether it is a capsule of that name.
    if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), abi::NAME.as_ptr()) } == 0 {
        return Err(PyRuntimeError::new_err(
            "__yamanote_c_api__ is no capsule of yamanote's",
        ));
    }
    // SAFETY: as just checked.
    let table = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), abi::NAME.as_ptr()) };
    // SAFETY: every version of the table begins with its version and size.
    let [version, size] = unsafe { table.cast::<[u32; 2]>().read() };
    if version >> 16 != u32::from(abi::MAJOR) || (size as usize) < size_of::<Api>() {
        return Err(PyRuntimeError::new_err(format!(
            "this yamanote speaks version {}.{} of its C interface, the extension {}.{}",
            version >> 16,
            version & 0xffff,
            abi::MAJOR,
            abi::MINOR
        )));
    }
    crate::finalizing::hang_instead_of_unwinding();
    API.store(table.cast(), Ordering::Release);
    // SAFETY: a table of our version, at least as long as ours, which lives as long as the process.
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

/// How many futures of any extension are alive on yamanote's loops.
pub(crate) fn live(py: Python<'_>) -> PyResult<usize> {
    // SAFETY: takes nothing.
    Ok(api(py)?.map_or(0, |api| unsafe { (api.live)() }))
}

/// The functions of one type of future.
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
        // SAFETY: borrowed for the call: `ManuallyDrop` leaves the loop's own reference in place.
        let waker = ManuallyDrop::new(unsafe { Waker::new(waker.cast(), &WAKER) });
        let poll = |py: Python<'_>| {
            // SAFETY: made by `spawn`, alive, and polled by one caller at a time.
            let future = unsafe { &mut *data.cast::<F>() };
            // SAFETY: in a box of its own, never moved until dropped there.
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
                    // SAFETY: writable for the call.
                    unsafe { result.write(object.into_ptr()) };
                    return abi::READY;
                }
                Ok(Some(Err(error))) => error,
                Err(panic) => panicked(&*panic),
            };
            error.restore(py);
            abi::FAILED
        };
        // SAFETY: called attached. Tells this copy of PyO3 so: references may be dropped at once.
        unsafe { Python::attach_unchecked(poll) }
    }

    unsafe extern "C" fn drop(data: *mut c_void) {
        let release = |_: Python<'_>| {
            // SAFETY: made by `spawn` and dropped once, here.
            let future = unsafe { Box::from_raw(data.cast::<F>()) };
            // Ignored: the panic hook has printed it, and there is nobody to tell.
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

/// A panic as the exception that the awaiting task gets.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> PyErr {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    PyRuntimeError::new_err(format!("a Rust future panicked: {said}"))
}

/// The table that a waker's functions are called through: a waker comes from it, so it was found.
fn waking() -> &'static Api {
    // SAFETY: published before the first future was spawned, and with it before the first waker.
    unsafe { &*API.load(Ordering::Acquire) }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |waker| {
        // SAFETY: a waker's pointer is a live reference of yamanote's.
        let clone = unsafe { (waking().waker_clone)(waker.cast()) };
        RawWaker::new(clone.cast(), &WAKER)
    },
    // SAFETY: as above, and gives the reference up.
    |waker| unsafe { (waking().waker_wake)(waker.cast()) },
    // SAFETY: as above, borrowed.
    |waker| unsafe { (waking().waker_wake_by_ref)(waker.cast()) },
    // SAFETY: as above, and gives the reference up.
    |waker| unsafe { (waking().waker_drop)(waker.cast()) },
);

/// One of yamanote's loops, for any thread.
pub(crate) struct Remote {
    api: &'static Api,
    raw: *const abi::Loop,
}

// SAFETY: `wake`, `submit`, `loop_retain` and `loop_release` may be called by any thread.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

impl Remote {
    /// `None` when the loop is not yamanote's.
    pub(crate) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let Some(api) = look_up(event_loop)? else {
            return Ok(None);
        };
        let mut raw = ptr::null();
        // SAFETY: attached, a live object, and `raw` is writable.
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

    /// Has `call` called on the loop's thread, with `None` by anyone when the loop is closed first. `false` when it
    /// is closed already: `call` was dropped.
    pub(crate) fn submit(&self, call: impl FnOnce(Option<Python<'_>>) + Send + 'static) -> bool {
        let call: Call = Box::new(call);
        let data = Box::into_raw(Box::new(call));
        // SAFETY: a live reference; `called` takes what `data` is, once.
        let code = unsafe { (self.api.submit)(self.raw, Some(called), data.cast()) };
        if code != abi::OK {
            // SAFETY: made above, and still ours, as the code says.
            drop(unsafe { Box::from_raw(data) });
        }
        code == abi::OK
    }
}

type Call = Box<dyn FnOnce(Option<Python<'_>>) + Send>;

unsafe extern "C" fn called(data: *mut c_void, status: c_int) {
    // SAFETY: made by `submit`, called once.
    let call = *unsafe { Box::from_raw(data.cast::<Call>()) };
    // Ignored: the panic hook has printed it, and the loop has nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if status == abi::OK {
            // SAFETY: attached, as the status says.
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
        // SAFETY: the reference that this value stands for.
        unsafe { (self.api.loop_release)(self.raw) };
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Remote").finish_non_exhaustive()
    }
}
