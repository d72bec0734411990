//! `ciphertext`: what passes between a socket and a TLS session, through the functions that OpenSSL calls, against two
//! queues of bytes.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use super::bio::{self, Lines};
use super::openssl::{Bio, OpenSsl};
use crate::input::{Input, Letters};

/// `BIO_CTRL_PENDING` and `BIO_CTRL_FLUSH`.
const PENDING: c_int = 10;
const FLUSH: c_int = 11;
/// `BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY`: the session must wait for more.
const WAITS: c_int = 0x09;

/// The session's side of the `BIO`.
struct Session {
    bio: NonNull<Bio>,
    lines: NonNull<Lines>,
}

#[derive(Default)]
struct Model {
    /// Came, and was not read.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Model {
    /// The session has read these bytes.
    fn take(&mut self, bytes: &[u8]) {
        assert!(self.incoming.starts_with(bytes), "other bytes");
        self.incoming.drain(..bytes.len());
    }
}

impl Session {
    fn new() -> Self {
        let openssl = OpenSsl::found().expect("a table");
        let (bio, lines) = bio::new(openssl).expect("a BIO");
        let this = Self { bio, lines };
        assert!(this.bio().is_initialised.get());
        this
    }

    fn bio(&self) -> &Bio {
        // SAFETY: freed by `drop` only.
        unsafe { self.bio.as_ref() }
    }

    fn lines(&self) -> &Lines {
        // SAFETY: the `BIO` owns them.
        unsafe { self.lines.as_ref() }
    }

    /// What OpenSSL does to read; `None` where it must wait.
    fn read(&self, room: c_int) -> Option<Vec<u8>> {
        let mut target = vec![0_u8; usize::try_from(room).unwrap_or(0)];
        // SAFETY: set when the method was made; the BIO is alive, and there is so much room.
        let count = unsafe {
            let read = (*self.bio().method).read.get().expect("a method");
            read(self.bio.as_ptr(), target.as_mut_ptr().cast(), room)
        };
        let waits = self.bio().flags.get() == WAITS;
        assert_eq!(count == -1, waits);
        assert!(waits || self.bio().flags.get() == 0);
        let count = usize::try_from(count).ok()?;
        assert!(count > 0, "an empty read means the end");
        target.truncate(count);
        Some(target)
    }

    fn write(&self, bytes: &[u8]) -> c_int {
        let length = c_int::try_from(bytes.len()).expect("a few bytes");
        // SAFETY: as above.
        unsafe {
            let write = (*self.bio().method).write.get().expect("a method");
            write(self.bio.as_ptr(), bytes.as_ptr().cast(), length)
        }
    }

    fn control(&self, what: c_int) -> usize {
        // SAFETY: as above.
        let answer = unsafe {
            let control = (*self.bio().method).control.get().expect("a method");
            control(self.bio.as_ptr(), what, 0, ptr::null_mut())
        };
        usize::try_from(answer).expect("no error")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: as above; the last call.
        unsafe {
            let destroy = (*self.bio().method).destroy.get().expect("a method");
            assert_eq!(destroy(self.bio.as_ptr()), 1);
        }
        assert!(self.bio().data.get().is_null());
        // SAFETY: made by the stand-in, in a box.
        drop(unsafe { Box::from_raw(self.bio.as_ptr()) });
    }
}

pub(crate) fn fuzz(mut input: Input<'_>) {
    let session = Session::new();
    let mut model = Model::default();
    let mut letters = Letters::default();
    while let Some(step) = input.step() {
        // The bytes are freed at the end of each step: what still points at them is found.
        let bytes = letters.next(input.size(14));
        match step % 8 {
            0..=2 => {
                model.incoming.extend(&bytes);
                let reads = input.below(4);
                let read = || (0..reads).for_each(|_| one_read(&session, &mut model, &mut input));
                session.lines().lend(&bytes, read).expect("there is memory");
            }
            3 => {
                model.incoming.extend(&bytes);
                session
                    .lines()
                    .lock()
                    .keep(&bytes)
                    .expect("there is memory");
            }
            4 => one_read(&session, &mut model, &mut input),
            5 => {
                assert_eq!(
                    session.write(&bytes),
                    c_int::try_from(bytes.len()).expect("a few")
                );
                model.outgoing.extend(&bytes);
            }
            6 => session
                .lines()
                .lock()
                .reserve(bytes.len())
                .expect("there is memory"),
            _ if step < 128 => assert_eq!(
                session.lines().lock().take_outgoing().unwrap(),
                std::mem::take(&mut model.outgoing)
            ),
            _ => {
                let what = c_int::from(input.byte());
                let expected = match what {
                    PENDING => model.incoming.len(),
                    FLUSH => 1,
                    _ => 0,
                };
                assert_eq!(session.control(what), expected);
            }
        }
        assert_eq!(session.lines().lock().incoming_size(), model.incoming.len());
        assert_eq!(session.lines().lock().outgoing_size(), model.outgoing.len());
        if model.incoming.len() + model.outgoing.len() > 1 << 18 {
            break;
        }
    }
    assert_eq!(
        session.lines().lock().take_outgoing().unwrap(),
        model.outgoing
    );
    while let Some(bytes) = session.read(1 << 14) {
        model.take(&bytes);
    }
    assert!(model.incoming.is_empty());
}

/// OpenSSL may be given fewer bytes than it has room for, but only the next ones, and none only if there is none.
fn one_read(session: &Session, model: &mut Model, input: &mut Input<'_>) {
    let room = c_int::try_from(input.size(14)).expect("a few") - c_int::from(input.byte() > 250);
    let Some(bytes) = session.read(room) else {
        assert!(room <= 0 || model.incoming.is_empty());
        return;
    };
    model.take(&bytes);
}
