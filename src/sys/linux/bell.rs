//! The semaphore of `bell`: POSIX's.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;

use crate::sys::call::syscall;

struct Semaphore(UnsafeCell<MaybeUninit<libc::sem_t>>);

// SAFETY: what POSIX's calls do with it is safe from any thread; Rust code does not look at it.
unsafe impl Sync for Semaphore {}

static SEMAPHORE: Semaphore = Semaphore(UnsafeCell::new(MaybeUninit::uninit()));

pub(in crate::sys) fn make() -> io::Result<()> {
    syscall!(sem_init(SEMAPHORE.0.get().cast(), 0, 0)).map(drop)
}

/// Called in a signal handler. At most one post is not waited for, so it cannot fail, which would change `errno`.
pub(in crate::sys) fn post() {
    // SAFETY: `make` has initialised it before the handler was set.
    unsafe { libc::sem_post(SEMAPHORE.0.get().cast()) };
}

pub(in crate::sys) fn wait() {
    // Ignored: a semaphore that was made has no error but the one that is retried.
    let _: io::Result<i32> = syscall!(sem_wait(SEMAPHORE.0.get().cast()));
}
