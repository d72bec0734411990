//! An OpenSSL `BIO` over memory of ours: where a TLS session reads and writes its ciphertext.

use std::collections::TryReserveError;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::openssl::{Bio, BioMethod, OpenSsl};

/// Both directions of a session.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The lock is for `_ssl`, which shakes hands detached while other threads may ask how much there is, and for our own
    /// detached writes; it is held for a copy at most.
    ciphertext: Mutex<Ciphertext>,
    /// Whether a thread that is detached uses the session. Release when it is done and Acquire by the next user order
    /// their accesses.
    is_taken: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Ciphertext {
    /// Received, and not read yet from `looked_at` on.
    kept: Vec<u8>,
    looked_at: usize,
    /// Comes after that: borrowed while [`Lines::lend`] runs, else empty.
    passing: *const [u8],
    /// To be sent.
    outgoing: Vec<u8>,
    /// Whether a part of it is missing: the rest is of no use to the peer.
    is_torn: bool,
    /// Why, until that was told.
    why_torn: Option<TryReserveError>,
}

// SAFETY: `passing` is only read, and empty unless it is borrowed; the rest belongs to no thread.
unsafe impl Send for Ciphertext {}

impl Default for Ciphertext {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            looked_at: 0,
            passing: NOTHING,
            outgoing: Vec::new(),
            is_torn: false,
            why_torn: None,
        }
    }
}

impl Lines {
    pub(super) fn lock(&self) -> MutexGuard<'_, Ciphertext> {
        // A panic leaves nothing in here half done.
        self.ciphertext
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a detached thread uses the session.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }

    /// Keeps other threads out of the session, or lets them in again.
    pub(super) fn set_taken(&self, is_taken: bool) {
        self.is_taken.store(is_taken, Ordering::Release);
    }

    /// Lets `read` read `ciphertext` after what is kept, and keeps what it leaves. `read` must not unwind.
    ///
    /// An error says that there was no memory for what came, which is lost.
    #[inline]
    pub(super) fn lend<R>(
        &self,
        ciphertext: &[u8],
        read: impl FnOnce() -> R,
    ) -> Result<R, TryReserveError> {
        self.lock().begin(ciphertext)?;
        let result = read();
        self.lock().finish()?;
        Ok(result)
    }
}

impl Ciphertext {
    fn begin(&mut self, ciphertext: &[u8]) -> Result<(), TryReserveError> {
        if self.incoming_size() > 0 {
            return self.keep(ciphertext);
        }
        self.passing = ciphertext;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TryReserveError> {
        let passing = std::mem::replace(&mut self.passing, NOTHING);
        if !passing.is_empty() {
            // SAFETY: the rest of the slice that `lend` gave to `begin` and still borrows.
            return self.keep(unsafe { &*passing });
        }
        if self.looked_at == self.kept.len() {
            // A connection that waits keeps no memory.
            self.kept = Vec::new();
            self.looked_at = 0;
        }
        Ok(())
    }

    /// Takes ciphertext that came, for later.
    pub(super) fn keep(&mut self, ciphertext: &[u8]) -> Result<(), TryReserveError> {
        self.kept.drain(..self.looked_at);
        self.looked_at = 0;
        self.kept.try_reserve(ciphertext.len())?;
        self.kept.extend_from_slice(ciphertext);
        Ok(())
    }

    /// Ciphertext that came and was not read.
    pub(super) fn incoming_size(&self) -> usize {
        self.kept.len() - self.looked_at + self.passing.len()
    }

    /// Makes room for the records of so many bytes.
    pub(super) fn reserve(&mut self, plaintext: usize) -> Result<(), TryReserveError> {
        let records = plaintext.div_ceil(RECORD);
        self.outgoing.try_reserve(plaintext + records * OVERHEAD)
    }

    pub(super) fn outgoing_size(&self) -> usize {
        self.outgoing.len()
    }

    /// All that is to be sent.
    ///
    /// An error says, once, that there was no memory for a part of it. OpenSSL reports that in ways that differ between
    /// its versions.
    pub(super) fn take_outgoing(&mut self) -> Result<Vec<u8>, TryReserveError> {
        let outgoing = std::mem::take(&mut self.outgoing);
        match self.why_torn.take() {
            Some(error) => Err(error),
            None if self.is_torn => Ok(Vec::new()),
            None => Ok(outgoing),
        }
    }

    /// Gives the session up to `room` bytes that came; returns how many.
    ///
    /// # Safety
    ///
    /// `target` is good for writing `room` bytes, and not ours.
    unsafe fn take(&mut self, target: *mut u8, room: usize) -> usize {
        let kept = &self.kept[self.looked_at..];
        let is_kept = !kept.is_empty();
        let source: *const [u8] = if is_kept { kept } else { self.passing };
        let count = source.len().min(room);
        let start = source.cast::<u8>();
        // SAFETY: `source` is `kept`, or what passes, which `lend` borrows; the target is the caller's.
        unsafe { ptr::copy_nonoverlapping(start, target, count) };
        if is_kept {
            self.looked_at += count;
        } else {
            // SAFETY: within the slice, or its end.
            let rest = unsafe { start.add(count) };
            self.passing = ptr::slice_from_raw_parts(rest, source.len() - count);
        }
        count
    }

    /// Takes what the session has to send; whether there was memory for it.
    fn put(&mut self, bytes: &[u8]) -> bool {
        match self.outgoing.try_reserve(bytes.len()) {
            Ok(()) => self.outgoing.extend_from_slice(bytes),
            Err(error) => {
                self.is_torn = true;
                self.why_torn = Some(error);
            }
        }
        !self.is_torn
    }
}

/// A new `BIO`, and its lines, which it owns.
pub(super) fn new(openssl: &OpenSsl) -> Option<(NonNull<Bio>, NonNull<Lines>)> {
    let method = method(openssl)?;
    // SAFETY: a whole method that is never freed.
    let bio = NonNull::new(unsafe { (openssl.new_bio)(method.as_ptr()) })?;
    let lines = NonNull::from(Box::leak(Box::<Lines>::default()));
    // SAFETY: a live `BIO` of our method, which takes the box over: `on_destroy` frees it.
    unsafe { (openssl.set_data)(bio.as_ptr(), lines.as_ptr().cast()) };
    // SAFETY: as above.
    unsafe { (openssl.set_initialised)(bio.as_ptr(), 1) };
    Some((bio, lines))
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
    // SAFETY: a method that no `BIO` uses yet, and a function of the signature that is asked for. So below.
    let mut done = unsafe { (openssl.method_read)(method, on_read) };
    // SAFETY: as above.
    done &= unsafe { (openssl.method_write)(method, on_write) };
    // SAFETY: as above.
    done &= unsafe { (openssl.method_control)(method, on_control) };
    // SAFETY: as above.
    done &= unsafe { (openssl.method_destroy)(method, on_destroy) };
    if done == 1 { method } else { ptr::null_mut() }
}

/// The lines of a `BIO` of ours; `None` before it has them.
///
/// # Safety
///
/// `bio` is alive for `'a`, and of our method.
#[inline]
unsafe fn lines_of<'a>(bio: *mut Bio) -> Option<(&'static OpenSsl, &'a Lines)> {
    let openssl = OpenSsl::found()?;
    // SAFETY: the caller's.
    let lines = unsafe { (openssl.data)(bio) }.cast::<Lines>();
    // SAFETY: null, or the box that the `BIO` owns, which only `on_destroy` frees.
    Some((openssl, unsafe { lines.as_ref() }?))
}

/// The session wants ciphertext.
unsafe extern "C" fn on_read(bio: *mut Bio, target: *mut c_char, room: c_int) -> c_int {
    // SAFETY: OpenSSL calls with a live `BIO` of our method.
    let Some((openssl, lines)) = (unsafe { lines_of(bio) }) else {
        return -1;
    };
    // SAFETY: as above.
    unsafe { (openssl.clear_flags)(bio, RETRY) };
    let room = usize::try_from(room).unwrap_or(0);
    // SAFETY: OpenSSL offers so much room of its own.
    let count = unsafe { lines.lock().take(target.cast(), room) };
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
    // SAFETY: OpenSSL calls with a live `BIO` of our method.
    let Some((openssl, lines)) = (unsafe { lines_of(bio) }) else {
        return -1;
    };
    // SAFETY: as above.
    unsafe { (openssl.clear_flags)(bio, RETRY) };
    let size = usize::try_from(length).unwrap_or(0);
    if size == 0 || bytes.is_null() {
        return 0;
    }
    // SAFETY: OpenSSL gives so many bytes, for the length of the call.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) };
    if lines.lock().put(bytes) { length } else { -1 }
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
            let found = unsafe { lines_of(bio) };
            let size = found.map_or(0, |(_, lines)| lines.lock().incoming_size());
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
    let lines = unsafe { (openssl.data)(bio) }.cast::<Lines>();
    if !lines.is_null() {
        // SAFETY: as above.
        unsafe { (openssl.set_data)(bio, ptr::null_mut()) };
        // SAFETY: the box that `new` leaked; its session is gone, and with that every other way to it.
        drop(unsafe { Box::from_raw(lines) });
    }
    1
}

const NOTHING: *const [u8] = &[];
/// What one record can carry, and what it adds: header, nonce, padding and digest of the oldest cipher.
pub(crate) const RECORD: usize = 16 * 1024;
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

    fn take(ciphertext: &mut Ciphertext, room: usize) -> Vec<u8> {
        let mut target = vec![0; room];
        // SAFETY: the vector has `room` bytes.
        let count = unsafe { ciphertext.take(target.as_mut_ptr(), room) };
        target.truncate(count);
        target
    }

    #[test]
    fn what_passes_is_read_and_the_rest_kept() {
        let lines = Lines::default();
        let read = || {
            assert_eq!(lines.lock().incoming_size(), 6);
            take(&mut lines.lock(), 4)
        };
        assert_eq!(lines.lend(b"record", read).unwrap(), b"reco");
        assert_eq!(lines.lock().incoming_size(), 2);
        assert_eq!(lines.lock().kept, b"rd");
    }

    #[test]
    fn what_was_kept_comes_first() {
        let lines = Lines::default();
        lines.lock().keep(b"one ").unwrap();
        assert_eq!(take(&mut lines.lock(), 2), b"on");
        let read = || {
            assert_eq!(lines.lock().incoming_size(), 5);
            [9, 9].map(|room| take(&mut lines.lock(), room))
        };
        assert_eq!(lines.lend(b"two", read).unwrap(), [&b"e two"[..], b""]);
        let ciphertext = lines.lock();
        assert_eq!(
            (ciphertext.incoming_size(), ciphertext.kept.capacity()),
            (0, 0)
        );
    }

    #[test]
    fn what_is_put_waits_in_order() {
        let mut ciphertext = Ciphertext::default();
        ciphertext.reserve(3).unwrap();
        assert!(ciphertext.put(b"a") && ciphertext.put(b"bc"));
        assert_eq!(ciphertext.take_outgoing().unwrap(), b"abc");
        assert_eq!(ciphertext.outgoing_size(), 0);
    }
}
