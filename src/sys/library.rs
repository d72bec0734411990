//! Shared libraries that somebody else has loaded.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// A library, or the program itself; it stays loaded.
#[derive(Debug)]
pub(crate) struct Library(NonNull<c_void>);

impl Library {
    /// The library at `path`, or the program for `None`. `None` when it is not loaded.
    pub(crate) fn loaded(path: Option<&CStr>) -> Option<Self> {
        let path = path.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: null, or ends with a zero and lives for the call. What is loaded already is not loaded again, so no
        // code of the library runs; it is never closed.
        let handle = unsafe { libc::dlopen(path, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        NonNull::new(handle).map(Self)
    }

    /// The address of `name`, in it or in a library that it was linked with.
    pub(crate) fn address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is never closed; the name ends with a zero and lives for the call.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_knows_the_c_library() {
        let program = Library::loaded(None).expect("the program is loaded");
        assert!(program.address(c"malloc").is_some());
        assert!(program.address(c"no_such_function_anywhere").is_none());
    }

    #[test]
    fn what_is_not_loaded_is_not_loaded_now() {
        assert!(Library::loaded(Some(c"/no/such/library.so")).is_none());
    }
}
