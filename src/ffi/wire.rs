//! A TLS session whose ciphertext is in memory of ours.
//!
//! `_ssl` reads and writes through two `ssl.MemoryBIO`, which copy every byte once more and keep the memory. Here the
//! session reads from what the socket has just received, and writes into what the socket is given.

use std::collections::TryReserveError;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;

use super::make::no_memory;
use super::openssl::{self, Bio, BioMethod, OpenSsl, Ssl};
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

/// Both directions of a session. The lock is for `_ssl`, which shakes hands detached, while other threads may ask how much
/// there is; it is held for a copy at most.
#[derive(Debug, Default)]
struct Lines(Mutex<Bytes>);

#[derive(Debug, Default)]
struct Bytes {
    /// Came, and nobody has looked at it yet: from `looked_at` on.
    kept: Vec<u8>,
    looked_at: usize,
    /// Comes after that: borrowed from `begin` to `finish`, else empty.
    passing: Passing,
    /// To be sent.
    outgoing: Vec<u8>,
}

#[derive(Debug)]
struct Passing {
    start: *const u8,
    length: usize,
}

// SAFETY: bytes that are only read, and borrowed for as long as this is not empty.
unsafe impl Send for Passing {}

impl Default for Passing {
    fn default() -> Self {
        Self {
            start: ptr::null(),
            length: 0,
        }
    }
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

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        // Nothing in here is half done when it unwinds.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes {
    /// Has `ciphertext` read after what is kept, until [`Bytes::finish`].
    fn begin(&mut self, ciphertext: &[u8]) -> Result<(), TryReserveError> {
        if self.incoming_size() > 0 {
            return self.keep(ciphertext);
        }
        self.passing = Passing {
            start: ciphertext.as_ptr(),
            length: ciphertext.len(),
        };
        Ok(())
    }

    /// Keeps what was not looked at: the borrow ends.
    fn finish(&mut self) -> Result<(), TryReserveError> {
        let passing = std::mem::take(&mut self.passing);
        if passing.length > 0 {
            // SAFETY: the rest of the slice that `begin` was given by the same call, which is still borrowed there.
            return self.keep(unsafe { std::slice::from_raw_parts(passing.start, passing.length) });
        }
        if self.looked_at == self.kept.len() {
            self.forget_kept();
        }
        Ok(())
    }

    fn keep(&mut self, ciphertext: &[u8]) -> Result<(), TryReserveError> {
        self.kept.drain(..self.looked_at);
        self.looked_at = 0;
        self.kept.try_reserve(ciphertext.len())?;
        self.kept.extend_from_slice(ciphertext);
        Ok(())
    }

    /// A connection that waits keeps no memory.
    fn forget_kept(&mut self) {
        self.kept = Vec::new();
        self.looked_at = 0;
    }

    fn incoming_size(&self) -> usize {
        self.kept.len() - self.looked_at + self.passing.length
    }

    /// Makes room for the records of so many bytes.
    fn expect(&mut self, plaintext: usize) -> Result<(), TryReserveError> {
        let records = plaintext.div_ceil(RECORD);
        self.outgoing.try_reserve(plaintext + records * OVERHEAD)
    }

    /// Gives the session up to `room` bytes that came; how many.
    ///
    /// # Safety
    ///
    /// `target` is good for writing `room` bytes, and not ours; what passes is still borrowed.
    unsafe fn take(&mut self, target: *mut u8, room: usize) -> usize {
        let rest = &self.kept[self.looked_at..];
        if !rest.is_empty() {
            let count = rest.len().min(room);
            // SAFETY: `rest` has so many, and the caller's.
            unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), target, count) };
            self.looked_at += count;
            return count;
        }
        let count = self.passing.length.min(room);
        if count > 0 {
            // SAFETY: so many are left of the slice, and the caller's.
            unsafe { ptr::copy_nonoverlapping(self.passing.start, target, count) };
            self.passing = Passing {
                // SAFETY: within the slice, or its end.
                start: unsafe { self.passing.start.add(count) },
                length: self.passing.length - count,
            };
        }
        count
    }

    /// Takes what the session has to send; whether there was memory for it.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let has_room = self.outgoing.try_reserve(bytes.len()).is_ok();
        if has_room {
            self.outgoing.extend_from_slice(bytes);
        }
        has_room
    }
}

/// How OpenSSL calls us; made once.
fn method(openssl: &OpenSsl) -> Option<NonNull<BioMethod>> {
    static METHOD: OnceLock<AtomicPtr<BioMethod>> = OnceLock::new();
    let method = METHOD.get_or_init(|| AtomicPtr::new(make_method(openssl)));
    NonNull::new(method.load(Ordering::Relaxed)) // Written once, before the `OnceLock` is.
}

fn make_method(openssl: &OpenSsl) -> *mut BioMethod {
    // SAFETY: no arguments.
    let index = unsafe { (openssl.bio_type)() };
    // SAFETY: the name ends with a zero, and is never freed.
    let method = unsafe { (openssl.new_method)(index | SOURCE_AND_SINK, c"yamanote".as_ptr()) };
    if index < 0 || method.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: a method that nobody uses yet, and a function of the signature that is asked for. So below.
    let mut done = unsafe { (openssl.method_read)(method, on_read) };
    // SAFETY: as above.
    done &= unsafe { (openssl.method_write)(method, on_write) };
    // SAFETY: as above.
    done &= unsafe { (openssl.method_control)(method, on_control) };
    // SAFETY: as above.
    done &= unsafe { (openssl.method_destroy)(method, on_destroy) };
    if done == 1 { method } else { ptr::null_mut() }
}

/// The lines of a `BIO` of ours.
///
/// # Safety
///
/// `bio` is alive for `'a`, and of our method.
unsafe fn lines<'a>(openssl: &OpenSsl, bio: *mut Bio) -> Option<&'a Lines> {
    // SAFETY: the caller's.
    let data = unsafe { (openssl.data)(bio) }.cast::<Lines>();
    // SAFETY: null, or the box that the `BIO` owns, which only its `destroy` frees.
    unsafe { data.as_ref() }
}

/// The session wants ciphertext.
unsafe extern "C" fn on_read(bio: *mut Bio, target: *mut c_char, room: c_int) -> c_int {
    let Some(openssl) = OpenSsl::found() else {
        return -1;
    };
    // SAFETY: OpenSSL calls with a live `BIO` of our method.
    let lines = unsafe { lines(openssl, bio) };
    // SAFETY: as above.
    unsafe { (openssl.clear_flags)(bio, RETRY) };
    let room = usize::try_from(room).unwrap_or(0);
    // SAFETY: OpenSSL offers so much room. What passes is borrowed by the call of ours that led here: outside of one it is
    // empty.
    let count = lines.map_or(0, |lines| unsafe { lines.lock().take(target.cast(), room) });
    if count == 0 {
        // SAFETY: as above.
        unsafe { (openssl.set_flags)(bio, RETRY_READ) };
        return -1;
    }
    // No more than `room`, which was one.
    c_int::try_from(count).unwrap_or(c_int::MAX)
}

/// The session has ciphertext.
unsafe extern "C" fn on_write(bio: *mut Bio, bytes: *const c_char, length: c_int) -> c_int {
    let Some(openssl) = OpenSsl::found() else {
        return -1;
    };
    // SAFETY: OpenSSL calls with a live `BIO` of our method.
    let lines = unsafe { lines(openssl, bio) };
    // SAFETY: as above.
    unsafe { (openssl.clear_flags)(bio, RETRY) };
    let size = usize::try_from(length).unwrap_or(0);
    if size == 0 || bytes.is_null() {
        return 0;
    }
    // SAFETY: OpenSSL gives so many bytes, for the length of the call.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) };
    if lines.is_some_and(|lines| lines.lock().put(bytes)) {
        length
    } else {
        -1
    }
}

/// The session asks or orders something.
unsafe extern "C" fn on_control(
    bio: *mut Bio,
    what: c_int,
    _number: c_long,
    _argument: *mut c_void,
) -> c_long {
    match what {
        FLUSH => 1,
        PENDING => {
            // SAFETY: OpenSSL calls with a live `BIO` of our method.
            let lines = OpenSsl::found().and_then(|openssl| unsafe { lines(openssl, bio) });
            let size = lines.map_or(0, |lines| lines.lock().incoming_size());
            c_long::try_from(size).unwrap_or(c_long::MAX)
        }
        // Never at an end: the loop knows of the socket's.
        _ => 0,
    }
}

/// The session is gone.
unsafe extern "C" fn on_destroy(bio: *mut Bio) -> c_int {
    let Some(openssl) = OpenSsl::found() else {
        return 0;
    };
    // SAFETY: OpenSSL calls with a live `BIO` of our method, for the last time.
    let data = unsafe { (openssl.data)(bio) }.cast::<Lines>();
    if !data.is_null() {
        // SAFETY: as above.
        unsafe { (openssl.set_data)(bio, ptr::null_mut()) };
        // SAFETY: the box that `Wire::over` leaked; nobody else has it any more, for its session is gone.
        drop(unsafe { Box::from_raw(data) });
    }
    1
}

/// The error of a session that failed and then did not.
pub(crate) fn no_reason() -> PyErr {
    PyRuntimeError::new_err("the TLS session has failed without a reason")
}

/// What one record can carry, and what it adds: header, nonce, padding and digest of the oldest cipher.
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 64;
/// Where `_ssl` puts its object: `SSL_set_app_data` (`ssl.h`).
const APPLICATION_DATA: c_int = 0;
/// `TLS1_3_VERSION` (`ssl.h`); those before have lower numbers.
const TLS_1_3: c_int = 0x0304;
/// `SSL_ERROR_WANT_READ`, `SSL_ERROR_WANT_WRITE`, `SSL_ERROR_ZERO_RETURN` (`ssl.h`).
const WANT_READ: c_int = 2;
const WANT_WRITE: c_int = 3;
const ZERO_RETURN: c_int = 6;
/// `BIO_TYPE_SOURCE_SINK`, `BIO_CTRL_PENDING`, `BIO_CTRL_FLUSH`, `BIO_FLAGS_READ`, `BIO_FLAGS_RWS` and
/// `BIO_FLAGS_SHOULD_RETRY` (`bio.h`).
const SOURCE_AND_SINK: c_int = 0x400;
const PENDING: c_int = 10;
const FLUSH: c_int = 11;
const RETRY: c_int = 0x07 | 0x08;
const RETRY_READ: c_int = 0x01 | 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bytes: &mut Bytes, room: usize) -> Vec<u8> {
        let mut target = vec![0; room];
        // SAFETY: the vector has `room` bytes, and what passes is a constant.
        let count = unsafe { bytes.take(target.as_mut_ptr(), room) };
        target.truncate(count);
        target
    }

    #[test]
    fn what_passes_is_read_and_the_rest_kept() {
        let mut bytes = Bytes::default();
        bytes.begin(b"record").unwrap();
        assert_eq!(bytes.incoming_size(), 6);
        assert_eq!(take(&mut bytes, 4), b"reco");
        bytes.finish().unwrap();
        assert_eq!(bytes.incoming_size(), 2);
        assert_eq!(bytes.kept, b"rd");
    }

    #[test]
    fn what_was_kept_comes_first() {
        let mut bytes = Bytes::default();
        bytes.keep(b"one ").unwrap();
        assert_eq!(take(&mut bytes, 2), b"on");
        bytes.begin(b"two").unwrap();
        assert_eq!(bytes.incoming_size(), 5);
        assert_eq!(take(&mut bytes, 9), b"e two");
        assert_eq!(take(&mut bytes, 9), b"");
        bytes.finish().unwrap();
        assert_eq!((bytes.incoming_size(), bytes.kept.capacity()), (0, 0));
    }

    #[test]
    fn what_is_put_waits_in_order() {
        let mut bytes = Bytes::default();
        bytes.expect(3).unwrap();
        assert!(bytes.put(b"a") && bytes.put(b"bc"));
        assert_eq!(std::mem::take(&mut bytes.outgoing), b"abc");
        assert!(bytes.outgoing.is_empty());
    }
}
