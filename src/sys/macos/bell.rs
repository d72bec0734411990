//! The semaphore of `bell`: Mach's, as POSIX's needs a name on macOS.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// The semaphore's port. A forked child does not have it, and makes its own.
static PORT: AtomicU32 = AtomicU32::new(0);

pub(in crate::sys) fn make() -> io::Result<()> {
    let mut port = 0;
    // SAFETY: a constant of the process.
    let task = unsafe { mach_task_self_ };
    // SAFETY: the task is this process; the port is written to a local variable.
    let failed = unsafe { semaphore_create(task, &raw mut port, FIRST_IN_FIRST_OUT, 0) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOMEM));
    }
    PORT.store(port, Ordering::Relaxed);
    Ok(())
}

/// Called in a signal handler. One trap of the kernel, which leaves `errno` alone.
pub(in crate::sys) fn post() {
    // SAFETY: takes a number; with one that is no semaphore of this process it fails.
    unsafe { semaphore_signal(PORT.load(Ordering::Relaxed)) };
}

pub(in crate::sys) fn wait() {
    loop {
        // SAFETY: as above.
        let failed = unsafe { semaphore_wait(PORT.load(Ordering::Relaxed)) };
        // A signal that interrupts this thread ends the wait.
        if failed != ABORTED {
            break;
        }
    }
}

/// `SYNC_POLICY_FIFO`
const FIRST_IN_FIRST_OUT: c_int = 0;
/// `KERN_ABORTED`
const ABORTED: c_int = 14;

unsafe extern "C" {
    static mach_task_self_: u32;
    fn semaphore_create(task: u32, semaphore: *mut u32, policy: c_int, value: c_int) -> c_int;
    fn semaphore_signal(semaphore: u32) -> c_int;
    fn semaphore_wait(semaphore: u32) -> c_int;
}
