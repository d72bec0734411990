//! Shared libraries that are already loaded.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// A loaded library, or the program itself. It is never closed.
#[derive(Debug)]
pub(crate) struct Library(NonNull<c_void>);

impl Library {
    /// The library at `path`, or the program for `None`. Returns `None` if it is not loaded.
    pub(crate) fn loaded(path: Option<&CStr>) -> Option<Self> {
        let path = path.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: the path is null or a zero-terminated string that lives for the call. `RTLD_NOLOAD` loads nothing,
        // so no code of the library runs; the handle is never closed.
        let handle = unsafe { libc::dlopen(path, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        NonNull::new(handle).map(Self)
    }

    /// The address of the symbol `name`, in this library or in its dependencies.
    pub(crate) fn address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is never closed; `name` is zero-terminated and lives for the call.
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
