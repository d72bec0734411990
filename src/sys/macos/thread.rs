//! Threads. Of the numbers that Linux has, none is asked for here.

use std::io;
use std::os::fd::RawFd;

use crate::sys::thread::Scheduled;

/// The kernel's number of the calling thread, as `threading.get_native_id()` returns it.
pub(crate) fn current_thread() -> u64 {
    let mut thread = 0;
    // SAFETY: 0 means the calling thread; the address is of a local variable. It fails for other threads only.
    unsafe { libc::pthread_threadid_np(0, &raw mut thread) };
    thread
}

/// Sends a signal to one thread of this process: the number does not lead to it.
pub(crate) fn signal_thread(_thread: u64, _signal: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An error: there are none.
pub(crate) fn check_memory_file(_fd: RawFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How a thread was scheduled so far: not known.
pub(crate) fn scheduled(_thread: u64) -> Scheduled {
    Scheduled::default()
}
