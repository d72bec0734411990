//! An OpenSSL `BIO` over memory of ours: where a TLS session reads and writes its ciphertext.

use std::collections::TryReserveError;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::openssl::{Bio, BioMethod, OpenSsl};

/// Both directions of a session. The lock is for `_ssl`, which shakes hands detached, while other threads may ask how much
/// there is; it is held for a copy at most.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Bytes>);

#[derive(Debug, Default)]
pub(super) struct Bytes {
    /// Came, and nobody has looked at it yet: from `looked_at` on.
    kept: Vec<u8>,
    looked_at: usize,
    /// Comes after that: borrowed from `begin` to `finish`, else empty.
    passing: Passing,
    /// To be sent.
    pub(super) outgoing: Vec<u8>,
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

impl Lines {
    pub(super) fn lock(&self) -> MutexGuard<'_, Bytes> {
        // Nothing in here is half done when it unwinds.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bytes {
    /// Has `ciphertext` read after what is kept, until [`Bytes::finish`].
    pub(super) fn begin(&mut self, ciphertext: &[u8]) -> Result<(), TryReserveError> {
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
    pub(super) fn finish(&mut self) -> Result<(), TryReserveError> {
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

    pub(super) fn keep(&mut self, ciphertext: &[u8]) -> Result<(), TryReserveError> {
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

    pub(super) fn incoming_size(&self) -> usize {
        self.kept.len() - self.looked_at + self.passing.length
    }

    /// Makes room for the records of so many bytes.
    pub(super) fn expect(&mut self, plaintext: usize) -> Result<(), TryReserveError> {
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
pub(super) fn method(openssl: &OpenSsl) -> Option<NonNull<BioMethod>> {
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

/// What one record can carry, and what it adds: header, nonce, padding and digest of the oldest cipher.
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 64;
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
