//! Threads. Of the numbers that Linux has, none is asked for here.

use crate::sys::thread::Scheduled;

/// The kernel's number of the calling thread, as `threading.get_native_id()` returns it.
pub(crate) fn current_thread() -> u64 {
    let mut thread = 0;
    // SAFETY: 0 means the calling thread; the address is of a local variable. It fails for other threads only.
    unsafe { libc::pthread_threadid_np(0, &raw mut thread) };
    thread
}

/// How a thread was scheduled so far: not known.
pub(crate) fn scheduled(_thread: u64) -> Scheduled {
    Scheduled::default()
}
