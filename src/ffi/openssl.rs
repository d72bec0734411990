//! The OpenSSL that the interpreter's `_ssl` is linked with, called past it.
//!
//! All that is used is public: the functions are looked up where `_ssl` found them, and the session of an `ssl.SSLObject`
//! is learnt from OpenSSL itself, which tells us of every session that is made (`SSL_get_ex_new_index`). Where anything
//! is not as expected there is no [`OpenSsl`], and TLS goes through `_ssl` alone.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use pyo3::exceptions::{PyAttributeError, PyMemoryError};
use pyo3::prelude::*;
use pyo3::sync::OnceLockExt;

use super::make;
use crate::sys::library::Library;

/// OpenSSL's `SSL`.
#[repr(C)]
pub(super) struct Ssl([u8; 0]);

/// OpenSSL's `BIO`.
#[repr(C)]
pub(super) struct Bio([u8; 0]);

/// OpenSSL's `BIO_METHOD`.
#[repr(C)]
pub(super) struct BioMethod([u8; 0]);

/// Declares a table of public functions, and how it is filled.
macro_rules! functions {
    ($($field:ident: $name:literal ($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions; there is one for the process.
        #[derive(Debug)]
        pub(super) struct OpenSsl {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl OpenSsl {
            /// `None` when one is missing.
            fn in_library(library: &Library) -> Option<Self> {
                Some(Self {
                    $($field: {
                        let address = library.address($name)?.as_ptr();
                        // SAFETY: this is the signature of OpenSSL's function of that name, from 1.1.1 to 3.x; which version
                        // it is gets checked before any is called but the two that say so, and those have not changed.
                        unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($argument),*) -> $result,
                            >(address)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    version: c"OpenSSL_version" (c_int) -> *const c_char;
    version_number: c"OpenSSL_version_num" () -> c_ulong;
    new_index: c"CRYPTO_get_ex_new_index"
        (c_int, c_long, *mut c_void, Option<Made>, *const c_void, *const c_void) -> c_int;
    extra_data: c"SSL_get_ex_data" (*const Ssl, c_int) -> *mut c_void;
    set_bio: c"SSL_set_bio" (*mut Ssl, *mut Bio, *mut Bio) -> ();
    read: c"SSL_read_ex" (*mut Ssl, *mut c_void, usize, *mut usize) -> c_int;
    write: c"SSL_write_ex" (*mut Ssl, *const c_void, usize, *mut usize) -> c_int;
    error: c"SSL_get_error" (*const Ssl, c_int) -> c_int;
    pending: c"SSL_pending" (*const Ssl) -> c_int;
    session_version: c"SSL_version" (*const Ssl) -> c_int;
    peek_error: c"ERR_peek_error" () -> c_ulong;
    clear_errors: c"ERR_clear_error" () -> ();
    bio_type: c"BIO_get_new_index" () -> c_int;
    new_method: c"BIO_meth_new" (c_int, *const c_char) -> *mut BioMethod;
    method_read: c"BIO_meth_set_read"
        (*mut BioMethod, unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int) -> c_int;
    method_write: c"BIO_meth_set_write"
        (*mut BioMethod, unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int) -> c_int;
    method_control: c"BIO_meth_set_ctrl"
        (*mut BioMethod, unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long) -> c_int;
    method_destroy: c"BIO_meth_set_destroy"
        (*mut BioMethod, unsafe extern "C" fn(*mut Bio) -> c_int) -> c_int;
    new_bio: c"BIO_new" (*const BioMethod) -> *mut Bio;
    set_data: c"BIO_set_data" (*mut Bio, *mut c_void) -> ();
    data: c"BIO_get_data" (*mut Bio) -> *mut c_void;
    set_initialised: c"BIO_set_init" (*mut Bio, c_int) -> ();
    set_flags: c"BIO_set_flags" (*mut Bio, c_int) -> ();
    clear_flags: c"BIO_clear_flags" (*mut Bio, c_int) -> ();
}

/// OpenSSL's `CRYPTO_EX_new`.
type Made = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, c_int, c_long, *mut c_void);

static FOUND: OnceLock<Option<OpenSsl>> = OnceLock::new();

impl OpenSsl {
    /// The interpreter's, looked for once; `None` where it is not there to be called, or not wanted.
    ///
    /// Errors: `MemoryError`, and the next call looks again.
    pub(super) fn of(py: Python<'_>) -> PyResult<Option<&'static Self>> {
        if let Some(found) = FOUND.get() {
            return Ok(found.as_ref());
        }
        let module = match Module::of(py) {
            Err(error) if error.is_instance_of::<PyMemoryError>(py) => return Err(error),
            // Ignored: an interpreter without `_ssl`, or with one that hides, has its own way left.
            module => module.ok(),
        };
        Ok(FOUND
            .get_or_init_py_attached(py, || find(&module?))
            .as_ref())
    }

    /// As it was found: for callbacks of a session, which come after that.
    pub(super) fn found() -> Option<&'static Self> {
        FOUND.get()?.as_ref()
    }

    /// Clears this thread's error queue, so that the next errors found are those of the next call.
    pub(super) fn forget_errors(&self) {
        // SAFETY: no arguments; it looks at this thread's queue.
        if unsafe { (self.peek_error)() } != 0 {
            // SAFETY: as above.
            unsafe { (self.clear_errors)() };
        }
    }
}

/// What `_ssl` says of the library that it is linked with.
struct Module {
    /// Compiled into the interpreter, it has no file.
    path: Option<CString>,
    version: String,
}

impl Module {
    fn of(py: Python<'_>) -> PyResult<Self> {
        let version = make::import(py, "_ssl", "OPENSSL_VERSION")?.extract()?;
        let path = match make::import(py, "_ssl", "__file__") {
            Ok(path) => Some(CString::new(path.extract::<String>()?)?),
            Err(error) if error.is_instance_of::<PyAttributeError>(py) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, version })
    }
}

fn find(module: &Module) -> Option<OpenSsl> {
    if std::env::var_os(SWITCH).is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let library = Library::loaded(module.path.as_deref())?;
    let openssl = OpenSsl::in_library(&library)?;
    // SAFETY: no arguments.
    let number = unsafe { (openssl.version_number)() };
    // SAFETY: any number will do; 0 asks for the text.
    let text = unsafe { (openssl.version)(0) };
    // SAFETY: the answer is a text that is never freed.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    if text != module.version || !text.starts_with("OpenSSL ") || !VERSIONS.contains(&number) {
        return None;
    }
    let (none, nothing) = (ptr::null_mut(), ptr::null());
    // SAFETY: `note` has the signature that is asked for, and is never unloaded.
    let index = unsafe { (openssl.new_index)(EX_INDEX_SSL, 0, none, Some(note), nothing, nothing) };
    (index >= 0).then_some(openssl)
}

thread_local! {
    /// The sessions that were made on this thread since it was last set.
    static SESSIONS: Cell<(usize, *mut Ssl)> = const { Cell::new((0, ptr::null_mut())) };
}

/// OpenSSL has made a session.
unsafe extern "C" fn note(
    session: *mut c_void,
    _slot: *mut c_void,
    _all: *mut c_void,
    _index: c_int,
    _number: c_long,
    _argument: *mut c_void,
) {
    // Ignored: the thread is ending, and nothing reads its value any more.
    let _ = SESSIONS.try_with(|sessions| {
        let (count, _) = sessions.get();
        sessions.set((count.saturating_add(1), session.cast()));
    });
}

/// The session that `make` makes on this thread; `None` unless there is exactly one.
///
/// `make` may run Python code, and that may come back here: what an inner call makes is not the outer call's.
pub(super) fn made_by<R>(make: impl FnOnce() -> R) -> (R, Option<NonNull<Ssl>>) {
    let outer = Outer(SESSIONS.replace((0, ptr::null_mut())));
    let result = make();
    let seen = SESSIONS.get();
    drop(outer);
    match seen {
        (1, session) => (result, NonNull::new(session)),
        _ => (result, None),
    }
}

/// What the outer call has seen so far; put back at the end, also when it unwinds.
struct Outer((usize, *mut Ssl));

impl Drop for Outer {
    fn drop(&mut self) {
        SESSIONS.set(self.0);
    }
}

/// An environment variable: not empty, TLS goes through `_ssl` alone.
const SWITCH: &str = "YAMANOTE_NO_OPENSSL";
/// 1.1.1 to 3.x, as `OPENSSL_VERSION_NUMBER` says it: what the signatures above were read from.
const VERSIONS: std::ops::Range<c_ulong> = 0x1010_1000..0x4000_0000;
/// `CRYPTO_EX_INDEX_SSL` (`crypto.h`).
const EX_INDEX_SSL: c_int = 0;
