//! The declarations of `yamanote.h` (in `python/yamanote/include`) in Rust: the table behind `loop.__yamanote_c_api__`.
//!
//! No type here depends on a version of Rust, tokio or PyO3. yamanote and an extension are compiled
//! separately and have their own copies of each, so only this C interface passes between them.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi::PyObject;

/// The capsule's name.
pub const NAME: &CStr = c"yamanote.c_api";
/// The attribute of a loop that holds the capsule.
pub const ATTRIBUTE: &str = "__yamanote_c_api__";
/// The major version: tables with the same one differ only by functions added at the end.
pub const MAJOR: u16 = 1;
/// The minor version: increases when functions are added.
pub const MINOR: u16 = 0;

/// Success.
pub const OK: c_int = 0;
/// A Python exception is set.
pub const EXCEPTION: c_int = -1;
/// The loop is closed.
pub const CLOSED: c_int = -2;
/// Another thread is running the loop, or this thread is not attached to the interpreter.
pub const WRONG_THREAD: c_int = -3;
/// The object, or the loop running on this thread, is not yamanote's.
pub const FOREIGN: c_int = -4;
/// No event loop is running on this thread.
pub const NO_LOOP: c_int = -5;
/// An argument is null, or a flag is unknown.
pub const INVALID: c_int = -6;
/// The awaitable is done, or is being polled.
pub const DONE: c_int = -7;

/// Returned by a pollable: it keeps a clone of the waker, and will wake it.
pub const PENDING: c_int = 0;
/// Returned by a pollable: `*result` is a new reference to its result.
pub const READY: c_int = 1;
/// Returned by a pollable: a Python exception is set.
pub const FAILED: c_int = -1;

/// The pollable may be polled and dropped on any thread.
pub const ANY_THREAD: u32 = 1;
/// The pollable is polled inside the loop's tokio runtime: only for code linked with yamanote itself.
pub const INSIDE_RUNTIME: u32 = 2;

/// A reference to a loop that can be used without attaching to the interpreter.
#[derive(Debug)]
#[repr(C)]
pub struct Loop {
    private: [u8; 0],
}

/// Wakes one pollable.
#[derive(Debug)]
#[repr(C)]
pub struct Waker {
    private: [u8; 0],
}

/// Called once: with the submitted data and `OK` on the loop's thread, attached; or with `CLOSED` on any
/// thread, perhaps detached, if the loop is closed first.
pub type Callback = unsafe extern "C" fn(data: *mut c_void, status: c_int);

/// The functions that poll and drop a pollable.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PollableFunctions {
    /// Called attached, on the loop's thread. The waker is borrowed for the call. Not called again after it has
    /// returned `READY` or `FAILED`.
    pub poll: unsafe extern "C" fn(
        data: *mut c_void,
        waker: *const Waker,
        result: *mut *mut PyObject,
    ) -> c_int,
    /// Called attached, exactly once, as the last call.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

/// The table of functions.
///
/// Only `waker_*`, `wake`, `submit`, `loop_retain`, `loop_release`, `clock_ns` and `live` may be called detached.
/// Functions that return a `c_int` return `OK` or one of the negative codes above.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Api {
    /// `MAJOR << 16 | MINOR`.
    pub version: u32,
    /// The size of this table in bytes.
    pub size: u32,
    /// Returns a new reference to a loop for any thread; null means the loop running on this thread.
    pub loop_acquire:
        unsafe extern "C" fn(event_loop: *mut PyObject, out: *mut *const Loop) -> c_int,
    /// Adds a reference.
    pub loop_retain: unsafe extern "C" fn(*const Loop) -> c_int,
    /// Releases a reference; null is ignored.
    pub loop_release: unsafe extern "C" fn(*const Loop),
    /// Ends the loop's wait, or keeps it from starting one.
    pub wake: unsafe extern "C" fn(*const Loop) -> c_int,
    /// Schedules `callback(data)` for a later turn. On any result but `OK`, it is never called.
    pub submit:
        unsafe extern "C" fn(*const Loop, callback: Option<Callback>, data: *mut c_void) -> c_int,
    /// Returns an awaitable that polls and owns `data`. On any result but `OK`, `data` remains the caller's.
    pub spawn: unsafe extern "C" fn(
        event_loop: *mut PyObject,
        functions: *const PollableFunctions,
        data: *mut c_void,
        flags: u32,
        awaitable: *mut *mut PyObject,
    ) -> c_int,
    /// Drops the pollable of an awaitable; the awaiting task gets `CancelledError`.
    pub cancel: unsafe extern "C" fn(awaitable: *mut PyObject) -> c_int,
    /// Returns the time in nanoseconds, on the clock of `loop.time()`.
    pub clock_ns: unsafe extern "C" fn() -> u64,
    /// Returns the number of pollables in the process that have not been dropped.
    pub live: unsafe extern "C" fn() -> usize,
    /// Returns a new reference to a waker. May be called on any thread, like the next three functions.
    pub waker_clone: unsafe extern "C" fn(*const Waker) -> *const Waker,
    /// Wakes the pollable, and drops the waker.
    pub waker_wake: unsafe extern "C" fn(*const Waker),
    /// Wakes the pollable.
    pub waker_wake_by_ref: unsafe extern "C" fn(*const Waker),
    /// Drops a cloned waker.
    pub waker_drop: unsafe extern "C" fn(*const Waker),
}
