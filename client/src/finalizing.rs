//! Threads that ask for the GIL when the interpreter has begun to end: none of their Rust runs any more.
//!
//! Before 3.14, CPython ends such a thread with `pthread_exit`, wherever it asks: while it waits for the GIL,
//! or between two instructions of some Python code that Rust has called. glibc then unwinds the stack by
//! force. Rust's destructors would run without the GIL, and a `catch_unwind` or an `extern "C"` function in
//! the way aborts the process. CPython 3.14 lets the thread hang instead, and so do we on older ones.

/// Has every forced unwind of the ending interpreter stop in front of the first Rust function that has
/// anything to do for it: a destructor, a `catch_unwind`, an `extern "C"` boundary. The thread hangs there.
///
/// Of all Rust that is linked together with this crate, PyO3 included. May be called again, by any thread.
#[inline]
pub fn hang_instead_of_unwinding() {
    #[cfg(unwinds_by_force)]
    personality::replace();
}

#[cfg(unwinds_by_force)]
mod personality {
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::mem;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};
    use std::thread;
    use std::time::Duration;

    use pyo3::ffi;

    /// What the unwinder asks, function by function, whether there is anything to do (Itanium C++ ABI, 2.5.2).
    type Personality = unsafe extern "C" fn(
        version: c_int,
        actions: c_int,
        class: u64,
        exception: *mut c_void,
        context: *mut c_void,
    ) -> c_int;

    unsafe extern "C" {
        /// Where the unwind tables of every Rust function find the personality routine. On ELF systems LLVM makes
        /// one such variable, writable and hidden, for all that is linked together; the linker keeps one.
        #[link_name = "DW.ref.rust_eh_personality"]
        static REFERENCE: AtomicPtr<c_void>;
    }

    unsafe extern "C" {
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }

    /// Rust's own routine, from the first call of `replace` on.
    static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

    /// `int Py_IsFinalizing(void)`. Looked up, for an extension that is built for several versions of Python runs on
    /// those that have one of the names.
    static IS_FINALIZING: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

    const NAMES: [&CStr; 2] = [c"Py_IsFinalizing", c"_Py_IsFinalizing"];

    /// `_UA_FORCE_UNWIND`.
    const FORCED: c_int = 8;

    pub(super) fn replace() {
        let ours = personality as Personality as *mut c_void;
        // SAFETY: the variable above: a pointer, aligned as one, that the unwinder only reads.
        let reference = unsafe { &REFERENCE };
        let before = reference.load(Ordering::Acquire);
        if before != ours && find() {
            // First, so that the routine finds it. Two threads store the same.
            ORIGINAL.store(before, Ordering::Release);
            reference.store(ours, Ordering::Release);
        }
    }

    fn find() -> bool {
        let found = NAMES.iter().find_map(|name| {
            // SAFETY: null stands for all that the program has loaded for everyone; the name ends with a zero byte.
            let found = unsafe { dlsym(ptr::null_mut(), name.as_ptr()) };
            (!found.is_null()).then_some(found)
        });
        IS_FINALIZING.store(found.unwrap_or(ptr::null_mut()), Ordering::Release);
        found.is_some()
    }

    unsafe extern "C" fn personality(
        version: c_int,
        actions: c_int,
        class: u64,
        exception: *mut c_void,
        context: *mut c_void,
    ) -> c_int {
        if actions & FORCED != 0 && is_ending() {
            loop {
                thread::sleep(Duration::MAX);
            }
        }
        let original = ORIGINAL.load(Ordering::Acquire);
        // SAFETY: what the variable held before: a routine of this type.
        let original = unsafe { mem::transmute::<*mut c_void, Personality>(original) };
        // SAFETY: the unwinder's own arguments, passed on.
        unsafe { original(version, actions, class, exception, context) }
    }

    /// Whether the interpreter is ending, or has ended. A thread that is cancelled by something else unwinds as ever.
    fn is_ending() -> bool {
        // SAFETY: may be called from any thread at any time.
        if unsafe { ffi::Py_IsInitialized() } == 0 {
            return true;
        }
        let found = IS_FINALIZING.load(Ordering::Acquire);
        // SAFETY: not null where the routine is ours, and a function of this type under either name.
        let is_finalizing =
            unsafe { mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(found) };
        // SAFETY: may be called from any thread at any time.
        unsafe { is_finalizing() != 0 }
    }
}
