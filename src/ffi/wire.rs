//! A TLS session whose ciphertext is in memory of ours.
//!
//! `_ssl` reads and writes through two `ssl.MemoryBIO`, which copy every byte once more and keep the memory. Here the
//! session reads from what the socket has just received, and writes into what the socket is given.

use std::ffi::c_int;
use std::ptr::NonNull;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;

use super::bio::{Lines, method};
use super::make::no_memory;
use super::openssl::{self, OpenSsl, Ssl};
use crate::sys::buffer::ReadBuffer;

/// The session of one `_ssl._SSLSocket`, which is given to every call: while it lives, so does the session.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The address of that object.
    native: usize,
    ssl: NonNull<Ssl>,
    /// The data of the session's `BIO`, which owns it.
    lines: NonNull<Lines>,
}

// SAFETY: OpenSSL's sessions belong to no thread; they are used by one at a time, which the owner of this sees to. On
// free-threaded builds, methods of `_ssl` that another thread calls are kept out by the object's critical section, but
// for those that leave it to read, write or shake hands themselves.
unsafe impl Send for Wire {}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The session has all that came, and wants more.
    Drained,
    /// There was no more room; there may be more.
    Full,
    /// The peer has said goodbye.
    Goodbye,
    /// The session has failed: `_ssl` finds out why when it is asked to do the same.
    Failed,
    /// There was no memory for what came: it is lost.
    Starved,
}

impl Wire {
    /// Makes a session with `make`, which answers an object and its native half, and takes its ciphertext over.
    ///
    /// `None` in place of a wire where that cannot be done. `make` must not do more than `ssl.SSLContext.wrap_bio`.
    pub(crate) fn tap<'py>(
        py: Python<'py>,
        make: impl FnOnce() -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Self>)> {
        let Some(openssl) = OpenSsl::of(py) else {
            let (object, native) = make()?;
            return Ok((object, native, None));
        };
        let (result, ssl) = openssl::made_by(make);
        let (object, native) = result?;
        let wire = ssl.and_then(|ssl| Self::over(openssl, ssl, &native));
        Ok((object, native, wire))
    }

    fn over(openssl: &OpenSsl, ssl: NonNull<Ssl>, native: &Bound<'_, PyAny>) -> Option<Self> {
        // SAFETY: the one session that `make` made, which the object that it answered owns.
        let owner = unsafe { (openssl.extra_data)(ssl.as_ptr(), APPLICATION_DATA) };
        if owner != native.as_ptr().cast() {
            return None;
        }
        let method = method(openssl)?;
        // SAFETY: a whole method that is never freed.
        let bio = NonNull::new(unsafe { (openssl.new_bio)(method.as_ptr()) })?;
        let lines = NonNull::from(Box::leak(Box::<Lines>::default()));
        // SAFETY: a live `BIO` of our method, which takes the box over: `destroy` is where it goes.
        unsafe { (openssl.set_data)(bio.as_ptr(), lines.as_ptr().cast()) };
        // SAFETY: as above.
        unsafe { (openssl.set_initialised)(bio.as_ptr(), 1) };
        // SAFETY: both are live. The session takes over our one reference, as one for both directions, and lets go of its
        // own to the memory buffers.
        unsafe { (openssl.set_bio)(ssl.as_ptr(), bio.as_ptr(), bio.as_ptr()) };
        Some(Self {
            native: native.as_ptr().addr(),
            ssl,
            lines,
        })
    }

    /// Decrypts what was kept, and then `ciphertext`, into `buffer`; what is not looked at is kept.
    ///
    /// Returns how many bytes it wrote.
    pub(crate) fn read(
        &self,
        native: &Bound<'_, PyAny>,
        ciphertext: &[u8],
        buffer: &mut ReadBuffer<'_>,
    ) -> (usize, Ending) {
        let Some(session) = self.session(native) else {
            return (0, Ending::Failed);
        };
        let lines = session.lines;
        if lines.lock().begin(ciphertext).is_err() {
            return (0, Ending::Starved);
        }
        let (count, ending) = with_critical_section(native, || session.read(buffer));
        if lines.lock().finish().is_err() {
            return (count, Ending::Starved);
        }
        (count, ending)
    }

    /// Encrypts `bytes`; answers how many. Fewer than all when the session must read first, or has failed.
    pub(crate) fn write(&self, native: &Bound<'_, PyAny>, bytes: &[u8]) -> (usize, Ending) {
        match self.session(native) {
            Some(session) => with_critical_section(native, || session.write(bytes)),
            None => (0, Ending::Failed),
        }
    }

    /// Bytes of the current record that are decrypted and not read.
    pub(crate) fn unread(&self, native: &Bound<'_, PyAny>) -> usize {
        match self.session(native) {
            Some(session) => with_critical_section(native, || session.unread()),
            None => 0,
        }
    }

    /// Whether reading runs no Python code: TLS 1.3 does not shake hands anew, and nobody listens to messages.
    pub(crate) fn runs_no_callbacks(&self, native: &Bound<'_, PyAny>) -> bool {
        self.session(native)
            .is_some_and(|session| session.version() >= TLS_1_3)
    }

    /// Takes ciphertext that came, for later.
    pub(crate) fn keep(&self, native: &Bound<'_, PyAny>, ciphertext: &[u8]) -> PyResult<()> {
        match self.session(native) {
            Some(session) => session.lines.lock().keep(ciphertext).map_err(no_memory),
            None => Ok(()),
        }
    }

    /// Makes room for the records of so many bytes.
    pub(crate) fn reserve(&self, native: &Bound<'_, PyAny>, plaintext: usize) -> PyResult<()> {
        match self.session(native) {
            Some(session) => session.lines.lock().expect(plaintext).map_err(no_memory),
            None => Ok(()),
        }
    }

    /// Ciphertext that came and was not looked at.
    pub(crate) fn incoming_size(&self, native: &Bound<'_, PyAny>) -> usize {
        self.session(native)
            .map_or(0, |session| session.lines.lock().incoming_size())
    }

    /// All ciphertext that is to be sent.
    pub(crate) fn take_outgoing(&self, native: &Bound<'_, PyAny>) -> Vec<u8> {
        self.session(native).map_or_else(Vec::new, |session| {
            std::mem::take(&mut session.lines.lock().outgoing)
        })
    }

    pub(crate) fn outgoing_size(&self, native: &Bound<'_, PyAny>) -> usize {
        self.session(native)
            .map_or(0, |session| session.lines.lock().outgoing.len())
    }

    /// The session, while its owner lives; `None` for another object.
    #[inline]
    fn session<'a>(&self, native: &'a Bound<'_, PyAny>) -> Option<Session<'a>> {
        if native.as_ptr().addr() != self.native {
            return None;
        }
        Some(Session {
            openssl: OpenSsl::found()?,
            ssl: self.ssl,
            // SAFETY: the owner of the session is alive for `'a`; the session owns the `BIO`, and that the lines, which
            // have a lock.
            lines: unsafe { self.lines.as_ref() },
        })
    }
}

/// A session whose owner is alive for `'a`.
struct Session<'a> {
    openssl: &'static OpenSsl,
    ssl: NonNull<Ssl>,
    lines: &'a Lines,
}

impl Session<'_> {
    fn read(&self, buffer: &mut ReadBuffer<'_>) -> (usize, Ending) {
        self.openssl.forget_errors();
        let mut filled = 0;
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
                return (filled, self.ending(result));
            }
            // SAFETY: OpenSSL wrote so many bytes, and was told how much room there is.
            unsafe { buffer.advance(count) };
            filled += count;
            // To find nothing costs more than to ask.
            if self.lines.lock().incoming_size() == 0 && self.unread() == 0 {
                return (filled, Ending::Drained);
            }
        }
        (filled, Ending::Full)
    }

    fn write(&self, bytes: &[u8]) -> (usize, Ending) {
        self.openssl.forget_errors();
        // Ignored: `put` asks again and says so.
        let _ = self.lines.lock().expect(bytes.len());
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

    fn unread(&self) -> usize {
        // SAFETY: the session is alive.
        let count = unsafe { (self.openssl.pending)(self.ssl.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    fn version(&self) -> c_int {
        // SAFETY: the session is alive.
        unsafe { (self.openssl.session_version)(self.ssl.as_ptr()) }
    }

    fn ending(&self, result: c_int) -> Ending {
        // SAFETY: the session is alive, and `result` is that of the call before, on this thread.
        match unsafe { (self.openssl.error)(self.ssl.as_ptr(), result) } {
            WANT_READ | WANT_WRITE => Ending::Drained,
            ZERO_RETURN => Ending::Goodbye,
            _ => Ending::Failed,
        }
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
