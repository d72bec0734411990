//! What `include/yamanote.h` says, in Rust: the table behind `loop.__yamanote_c_api__`.
//!
//! Nothing here belongs to a version of Rust, tokio or PyO3: two extensions that were compiled apart
//! have two copies of each of them, and this is all that passes between them.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi::PyObject;

/// The capsule's name.
pub const NAME: &CStr = c"yamanote.c_api";
/// The attribute of a loop that holds the capsule.
pub const ATTRIBUTE: &str = "__yamanote_c_api__";
/// Tables of the same major version only grow at their end.
pub const MAJOR: u16 = 1;
/// Grows with the table.
pub const MINOR: u16 = 0;

/// It worked.
pub const OK: c_int = 0;
/// A Python exception is set.
pub const EXCEPTION: c_int = -1;
/// The loop is closed.
pub const CLOSED: c_int = -2;
/// Another thread runs the loop.
pub const WRONG_THREAD: c_int = -3;
/// The object, or the loop that runs on this thread, is not of yamanote.
pub const FOREIGN: c_int = -4;
/// No event loop runs on this thread.
pub const NO_LOOP: c_int = -5;
/// An argument is null, or a flag is unknown.
pub const INVALID: c_int = -6;
/// The awaitable has ended, or is being polled.
pub const DONE: c_int = -7;

/// A pollable's answer: it will wake its waker.
pub const PENDING: c_int = 0;
/// A pollable's answer: `*result` is a new reference to its result.
pub const READY: c_int = 1;
/// A pollable's answer: a Python exception is set.
pub const FAILED: c_int = -1;

/// The pollable may be polled and dropped on any thread.
pub const ANY_THREAD: u32 = 1;
/// Polled inside the loop's own tokio runtime: for code that is linked with yamanote itself.
pub const INSIDE_RUNTIME: u32 = 2;

/// A loop as threads that know nothing of Python see it.
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

/// Called with the submitted data and `OK` on the loop's thread, attached; or with `CLOSED`, by whoever,
/// perhaps detached, when the loop was closed first.
pub type Callback = unsafe extern "C" fn(data: *mut c_void, status: c_int);

/// How a pollable is polled and dropped.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PollableFunctions {
    /// Attached, on the loop's thread. The waker is borrowed for the call. Not called again once it answered
    /// `READY` or `FAILED`.
    pub poll: unsafe extern "C" fn(
        data: *mut c_void,
        waker: *const Waker,
        result: *mut *mut PyObject,
    ) -> c_int,
    /// Attached. Called once, last.
    pub drop: unsafe extern "C" fn(data: *mut c_void),
}

/// The table of functions. Only `waker_*`, `wake`, `submit`, `loop_retain`, `loop_release`, `clock_ns` and `live` may be called detached.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Api {
    /// `MAJOR << 16 | MINOR`.
    pub version: u32,
    /// Bytes of this table.
    pub size: u32,
    /// A new reference to a loop for other threads; null stands for the one that runs on this thread.
    pub loop_acquire:
        unsafe extern "C" fn(event_loop: *mut PyObject, out: *mut *const Loop) -> c_int,
    /// One more reference.
    pub loop_retain: unsafe extern "C" fn(*const Loop) -> c_int,
    /// One reference less.
    pub loop_release: unsafe extern "C" fn(*const Loop),
    /// Ends the loop's wait, or keeps it from starting one.
    pub wake: unsafe extern "C" fn(*const Loop) -> c_int,
    /// Has `callback(data)` called in a coming turn; unless it answers `OK`, it never will be.
    pub submit:
        unsafe extern "C" fn(*const Loop, callback: Option<Callback>, data: *mut c_void) -> c_int,
    /// An awaitable that polls `data`, which it owns from then on; unless it answers `OK`, the caller does.
    pub spawn: unsafe extern "C" fn(
        event_loop: *mut PyObject,
        functions: *const PollableFunctions,
        data: *mut c_void,
        flags: u32,
        awaitable: *mut *mut PyObject,
    ) -> c_int,
    /// Drops what the awaitable polls; whoever awaits it gets `CancelledError`.
    pub cancel: unsafe extern "C" fn(awaitable: *mut PyObject) -> c_int,
    /// Nanoseconds on the clock of `loop.time()`.
    pub clock_ns: unsafe extern "C" fn() -> u64,
    /// How many pollables there are in the process that have not been dropped.
    pub live: unsafe extern "C" fn() -> usize,
    /// A waker of one's own; from any thread, like the other three.
    pub waker_clone: unsafe extern "C" fn(*const Waker) -> *const Waker,
    /// Wakes, and drops the waker.
    pub waker_wake: unsafe extern "C" fn(*const Waker),
    /// Wakes.
    pub waker_wake_by_ref: unsafe extern "C" fn(*const Waker),
    /// Drops a cloned waker.
    pub waker_drop: unsafe extern "C" fn(*const Waker),
}
