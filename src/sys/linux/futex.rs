//! Waiting until a number changes.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::sys::call::syscall;

/// Waits until `wake_all`, if the number is `expected`, for at most `limit`. May return earlier.
pub(crate) fn wait_while(number: &AtomicU32, expected: u32, limit: Option<Duration>) {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // It fails if the number is another one or the time is over.
    let _: io::Result<i64> = syscall!(syscall(
        libc::SYS_futex,
        number.as_ptr(),
        operation,
        expected,
        limit
    ));
}

/// Ends all waits on the number.
pub(crate) fn wake_all(number: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    let _: io::Result<i64> = syscall!(syscall(
        libc::SYS_futex,
        number.as_ptr(),
        operation,
        i32::MAX
    ));
}
