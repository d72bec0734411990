//! Hangs threads that request the GIL during interpreter finalization, before any of their Rust code unwinds.
//!
//! Before 3.14, CPython ends such a thread with `pthread_exit` at the point of the request: while it waits for the
//! GIL, or between two bytecode instructions of Python code that was called from Rust. glibc then performs a forced
//! unwind of the stack. Rust destructors would run without the GIL, and a `catch_unwind` or an `extern "C"` function
//! on the stack aborts the process. CPython 3.14 hangs the thread instead; this module does so on older versions.

/// Stops every forced unwind during finalization at the first Rust function with unwind actions: a destructor, a
/// `catch_unwind`, an `extern "C"` boundary. The thread hangs there.
///
/// This covers all Rust code linked together with this crate, PyO3 included. May be called repeatedly, on any thread.
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

    /// The routine that the unwinder calls for each frame to find its unwind actions (Itanium C++ ABI, 2.5.2).
    type Personality = unsafe extern "C" fn(
        version: c_int,
        actions: c_int,
        class: u64,
        exception: *mut c_void,
        context: *mut c_void,
    ) -> c_int;

    unsafe extern "C" {
        /// The variable through which the unwind tables of all Rust functions refer to the personality routine. On ELF
        /// systems LLVM emits it into each object file, writable and hidden, and the linker keeps one.
        #[link_name = "DW.ref.rust_eh_personality"]
        static REFERENCE: AtomicPtr<c_void>;
    }

    unsafe extern "C" {
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }

    /// Rust's own routine; set by the first call of `replace`.
    static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

    /// `int Py_IsFinalizing(void)`. Looked up at run time: an extension built for the stable ABI runs on versions of
    /// Python that export it under either of the names.
    static IS_FINALIZING: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

    const NAMES: [&CStr; 2] = [c"Py_IsFinalizing", c"_Py_IsFinalizing"];

    /// `_UA_FORCE_UNWIND`.
    const FORCED: c_int = 8;

    pub(super) fn replace() {
        let ours = personality as Personality as *mut c_void;
        // SAFETY: the variable above holds an aligned pointer, which the unwinder only reads.
        let reference = unsafe { &REFERENCE };
        let before = reference.load(Ordering::Acquire);
        if before != ours && find() {
            // Stored first, because our routine reads it. Two threads would store the same value.
            ORIGINAL.store(before, Ordering::Release);
            reference.store(ours, Ordering::Release);
        }
    }

    fn find() -> bool {
        let found = NAMES.iter().find_map(|name| {
            // SAFETY: null is `RTLD_DEFAULT`, the global symbol scope; the name is NUL-terminated.
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
        // SAFETY: the previous value of the variable, a routine of this type.
        let original = unsafe { mem::transmute::<*mut c_void, Personality>(original) };
        // SAFETY: the unwinder's arguments are passed on unchanged.
        unsafe { original(version, actions, class, exception, context) }
    }

    /// Returns whether the interpreter is finalizing or finalized. Otherwise a forced unwind has another cause, such as
    /// `pthread_cancel`, and proceeds.
    fn is_ending() -> bool {
        // SAFETY: may be called on any thread at any time.
        if unsafe { ffi::Py_IsInitialized() } == 0 {
            return true;
        }
        let found = IS_FINALIZING.load(Ordering::Acquire);
        // SAFETY: not null once our routine is installed; under either name it is a function of this type.
        let is_finalizing =
            unsafe { mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(found) };
        // SAFETY: may be called on any thread at any time.
        unsafe { is_finalizing() != 0 }
    }
}
