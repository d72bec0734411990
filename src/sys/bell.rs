//! A signal that wakes one thread, whatever the others do.
//!
//! The handler only posts a semaphore. It needs no descriptor, which a program could close, and a forked child has a
//! copy of its own.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::call::syscall;
use super::platform::bell as semaphore;

/// Whether the signal came since the last [`wait`]; signals in a burst count once. The semaphore orders what the
/// threads do.
static RANG: AtomicBool = AtomicBool::new(false);

/// Whether there is a semaphore. Relaxed: imports follow each other.
static IS_MADE: AtomicBool = AtomicBool::new(false);

/// From now on the signal ends [`wait`]. Calls of the system that it interrupts are restarted where the system can.
pub(crate) fn listen(signal: i32) -> io::Result<()> {
    // Once: where the package is imported again, a thread waits already.
    if !IS_MADE.swap(true, Ordering::Relaxed) {
        make()?;
    }
    let action = libc::sigaction {
        sa_sigaction: ring as extern "C" fn(libc::c_int) as libc::sighandler_t,
        sa_flags: libc::SA_RESTART | libc::SA_ONSTACK,
        // SAFETY: all zeroes is a valid set, the empty one, and a valid absent restorer.
        ..unsafe { std::mem::zeroed() }
    };
    syscall!(sigaction(signal, &raw const action, ptr::null_mut()))?;
    Ok(())
}

/// Makes the semaphore; once more in a forked child, before its thread waits. No other thread waits yet.
pub(crate) fn make() -> io::Result<()> {
    semaphore::make()?;
    RANG.store(false, Ordering::Relaxed);
    Ok(())
}

/// Returns when the signal has come.
pub(crate) fn wait() {
    semaphore::wait();
    RANG.store(false, Ordering::Relaxed);
}

/// The handler. It may interrupt any thread anywhere: it uses nothing but an atomic and the semaphore.
extern "C" fn ring(_signal: libc::c_int) {
    if !RANG.swap(true, Ordering::Relaxed) {
        semaphore::post();
    }
}
