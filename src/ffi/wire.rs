//! A TLS session whose ciphertext is in memory of ours.
//!
//! `_ssl` reads and writes through two `ssl.MemoryBIO`, which copy every byte once more and keep the memory. Here the
//! session reads from what the socket has just received, and writes into what the socket is given (`bio`).

use std::collections::TryReserveError;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyBytes;

use super::Visitor;
use super::bio::{self, Lines};
use super::make::no_memory;
use super::openssl::{self, OpenSsl, Ssl};
use crate::sys::buffer::ReadBuffer;

pub(crate) use super::bio::RECORD;

/// The session of an `_ssl._SSLSocket`, kept alive by a reference to that.
#[derive(Debug)]
pub(crate) struct Wire {
    openssl: &'static OpenSsl,
    native: Py<PyAny>,
    /// `native` owns it.
    ssl: NonNull<Ssl>,
    /// The data of the session's `BIO`, which owns it.
    lines: NonNull<Lines>,
}

// SAFETY: OpenSSL's sessions belong to no thread; they are used by one at a time, which the owner of this sees to, and while
// a thread is detached, `Lines::is_taken`: every other use of the session through this waits for that. On
// free-threaded builds, methods of `_ssl` that another thread calls are kept out by the object's critical section, but
// for those that leave it to read, write or shake hands themselves.
unsafe impl Send for Wire {}

/// Why reading or writing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The session has all that came, and wants more.
    Drained,
    /// There was no more room; there may be more.
    Full,
    /// The peer's `close_notify`.
    Goodbye,
    /// The session has failed: `_ssl` finds out why when it is asked to do the same.
    Failed,
}

/// Writes in [`Wire::write_detached`] in the process.
static DETACHED: AtomicUsize = AtomicUsize::new(0);

/// Waits, before a fork, until no session is in use by a detached thread: a child would find it locked for ever.
#[pyfunction]
#[pyo3(name = "_finish_detached_writes")]
pub(crate) fn finish_detached_writes(py: Python<'_>) {
    while DETACHED.load(Ordering::Acquire) > 0 {
        py.detach(std::thread::yield_now);
    }
}

/// Whether OpenSSL is called directly, without `_ssl`.
#[pyfunction]
#[pyo3(name = "_calls_openssl")]
pub(crate) fn calls_openssl(py: Python<'_>) -> PyResult<bool> {
    Ok(OpenSsl::of(py)?.is_some())
}

impl Wire {
    /// Makes a session with `make`, which returns an object and its native half, and takes its ciphertext over.
    ///
    /// `None` in place of a wire where that cannot be done. `make` must not do more than `ssl.SSLContext.wrap_bio`.
    pub(crate) fn tap<'py>(
        py: Python<'py>,
        make: impl FnOnce() -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Self>)> {
        let Some(openssl) = OpenSsl::of(py)? else {
            let (object, native) = make()?;
            return Ok((object, native, None));
        };
        let (result, ssl) = openssl::made_by(make);
        let (object, native) = result?;
        let wire = ssl.and_then(|ssl| Self::over(openssl, ssl, &native));
        Ok((object, native, wire))
    }

    fn over(
        openssl: &'static OpenSsl,
        ssl: NonNull<Ssl>,
        native: &Bound<'_, PyAny>,
    ) -> Option<Self> {
        // SAFETY: the one session that `make` made, which the object that it returned owns.
        let owner = unsafe { (openssl.extra_data)(ssl.as_ptr(), APPLICATION_DATA) };
        if owner != native.as_ptr().cast() {
            return None;
        }
        let (bio, lines) = bio::new(openssl)?;
        // SAFETY: both are live. The session takes over our one reference, as one for both directions, and lets go of its
        // own to the memory buffers.
        unsafe { (openssl.set_bio)(ssl.as_ptr(), bio.as_ptr(), bio.as_ptr()) };
        Some(Self {
            openssl,
            native: native.clone().unbind(),
            ssl,
            lines,
        })
    }

    #[inline]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            native: self.native.clone_ref(py),
            ..*self
        }
    }

    /// The `_ssl._SSLSocket`.
    pub(crate) fn native<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.native.bind(py)
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        visitor.object(&self.native);
    }

    /// Decrypts what was kept, and then `ciphertext`, into `buffer`; keeps what the session does not look at.
    ///
    /// An error says that there was no memory for what came, which is lost.
    pub(crate) fn read(
        &self,
        py: Python<'_>,
        ciphertext: &[u8],
        buffer: &mut ReadBuffer<'_>,
    ) -> Result<Ending, TryReserveError> {
        self.wait(py);
        self.lines().lend(ciphertext, || {
            with_critical_section(self.native(py), || self.read_records(buffer))
        })
    }

    fn read_records(&self, buffer: &mut ReadBuffer<'_>) -> Ending {
        self.openssl.forget_errors();
        while buffer.room() > 0 {
            let mut count = 0;
            // SAFETY: the session is alive; it writes up to as many bytes as there is room for, and says how many.
            let result = unsafe {
                (self.openssl.read)(
                    self.ssl.as_ptr(),
                    buffer.start().cast(),
                    buffer.room(),
                    &raw mut count,
                )
            };
            if result != 1 {
                return self.ending(result);
            }
            // SAFETY: OpenSSL wrote so many bytes, and was told how much room there is.
            unsafe { buffer.advance(count) };
            // An empty read costs more than this check.
            if self.incoming_size() == 0 && self.pending() == 0 {
                return Ending::Drained;
            }
        }
        Ending::Full
    }

    /// Encrypts `bytes`; returns how many. Fewer than all when the session must read first, or has failed.
    pub(crate) fn write(&self, py: Python<'_>, bytes: &[u8]) -> (usize, Ending) {
        self.wait(py);
        with_critical_section(self.native(py), || self.write_records(bytes))
    }

    /// Like [`Wire::write`], while other threads run Python, except that they wait before they come to this session.
    ///
    /// Without the GIL they run anyway. Before TLS 1.3, a write may run callbacks, which may come to the session.
    pub(crate) fn write_detached(
        &self,
        py: Python<'_>,
        bytes: &Bound<'_, PyBytes>,
    ) -> (usize, Ending) {
        let contents = bytes.as_bytes();
        if cfg!(Py_GIL_DISABLED) || !self.runs_no_callbacks() {
            return self.write(py, contents);
        }
        self.wait(py);
        // Keeps the session alive, whatever other threads do with its object.
        let wire = self.clone_ref(py);
        wire.lines().set_taken(true);
        DETACHED.fetch_add(1, Ordering::AcqRel);
        let (wire, result) = py.detach(move || {
            let result = wire.write_records(contents);
            // Still detached: a thread that waits for this may have the GIL.
            wire.lines().set_taken(false);
            // Last: a thread that waits for this forks, and the child must find the session free.
            DETACHED.fetch_sub(1, Ordering::AcqRel);
            (wire, result)
        });
        drop(wire);
        result
    }

    /// Waits while another thread is in [`Wire::write_detached`].
    #[inline]
    pub(crate) fn wait(&self, py: Python<'_>) {
        while self.lines().is_taken() {
            py.detach(std::thread::yield_now);
        }
    }

    fn write_records(&self, bytes: &[u8]) -> (usize, Ending) {
        self.openssl.forget_errors();
        // Ignored: the `BIO` asks again and says so.
        let _ = self.lines().lock().reserve(bytes.len());
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let mut count = 0;
            // SAFETY: the session is alive; it reads so many bytes, and says how many it took.
            let result = unsafe {
                (self.openssl.write)(
                    self.ssl.as_ptr(),
                    rest.as_ptr().cast(),
                    rest.len(),
                    &raw mut count,
                )
            };
            if result != 1 {
                return (written, self.ending(result));
            }
            written += count;
        }
        (written, Ending::Drained)
    }

    /// Bytes of the current record that are decrypted and not read.
    pub(crate) fn unread(&self, py: Python<'_>) -> usize {
        self.wait(py);
        with_critical_section(self.native(py), || self.pending())
    }

    fn pending(&self) -> usize {
        // SAFETY: the session is alive.
        let count = unsafe { (self.openssl.pending)(self.ssl.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Whether reading runs no Python code: TLS 1.3 does not shake hands anew, and no callback listens to messages.
    pub(crate) fn runs_no_callbacks(&self) -> bool {
        // SAFETY: the session is alive.
        let version = unsafe { (self.openssl.session_version)(self.ssl.as_ptr()) };
        version >= TLS_1_3
    }

    fn ending(&self, result: c_int) -> Ending {
        // SAFETY: the session is alive, and `result` is that of the call before, on this thread.
        match unsafe { (self.openssl.error)(self.ssl.as_ptr(), result) } {
            WANT_READ | WANT_WRITE => Ending::Drained,
            ZERO_RETURN => Ending::Goodbye,
            _ => Ending::Failed,
        }
    }

    /// Takes ciphertext that came, for later.
    pub(crate) fn keep(&self, ciphertext: &[u8]) -> PyResult<()> {
        self.lines().lock().keep(ciphertext).map_err(no_memory)
    }

    /// Makes room for the records of so many bytes.
    pub(crate) fn reserve(&self, plaintext: usize) -> PyResult<()> {
        self.lines().lock().reserve(plaintext).map_err(no_memory)
    }

    /// Ciphertext that came and was not looked at.
    pub(crate) fn incoming_size(&self) -> usize {
        self.lines().lock().incoming_size()
    }

    /// All ciphertext that is to be sent.
    ///
    /// An error says, once, that there was no memory for a part of it: the session cannot go on.
    pub(crate) fn take_outgoing(&self) -> PyResult<Vec<u8>> {
        self.lines().lock().take_outgoing().map_err(no_memory)
    }

    pub(crate) fn outgoing_size(&self) -> usize {
        self.lines().lock().outgoing_size()
    }

    #[inline]
    fn lines(&self) -> &Lines {
        // SAFETY: `native` is alive and owns the session, that the `BIO`, and that the lines, which have a lock.
        unsafe { self.lines.as_ref() }
    }
}

/// The error of a session that failed and then did not.
pub(crate) fn no_reason() -> PyErr {
    PyRuntimeError::new_err("the TLS session has failed without a reason")
}

/// Where `_ssl` puts its object: `SSL_set_app_data` (`ssl.h`).
const APPLICATION_DATA: c_int = 0;
/// `TLS1_3_VERSION` (`ssl.h`); those before have lower numbers.
const TLS_1_3: c_int = 0x0304;
/// `SSL_ERROR_WANT_READ`, `SSL_ERROR_WANT_WRITE`, `SSL_ERROR_ZERO_RETURN` (`ssl.h`).
const WANT_READ: c_int = 2;
const WANT_WRITE: c_int = 3;
const ZERO_RETURN: c_int = 6;
