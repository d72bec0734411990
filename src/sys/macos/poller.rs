//! The set of watched descriptors: a kqueue of its own.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::kqueue::{EMPTY, Kqueue, MOST_CHANGES, change};
use crate::sys::poller::{Event, Interest};

/// A set of descriptors that somebody else owns, and may close or reuse at any time.
///
/// A kqueue knows a descriptor by its number alone and forgets it when the number is closed, so nothing of an old
/// file is ever found under it. The two directions are two entries, told separately.
#[derive(Debug)]
pub(crate) struct Poller(Kqueue);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Kqueue::new().map(Self)
    }

    /// The same as `modify`: no number is known here that must not be, or the other way round.
    pub(crate) fn add(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.modify(fd, interest)
    }

    /// Takes out and puts in: an entry that is there already would keep its old flags.
    pub(crate) fn modify(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let once = if interest.once { libc::EV_ONESHOT } else { 0 };
        let mut changes = [EMPTY; MOST_CHANGES];
        let mut count = 0;
        for (filter, wanted) in [(READ, interest.read), (WRITE, interest.write)] {
            changes[count] = change(fd, filter, libc::EV_DELETE);
            count += 1;
            if wanted {
                changes[count] = change(fd, filter, libc::EV_ADD | once);
                count += 1;
            }
        }
        self.0.change(&changes[..count])
    }

    /// Takes out both directions; fails where events may still come.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.modify(fd, Interest::default())
    }

    /// Shows what is ready now, without waiting; whether there may be more.
    pub(crate) fn ready(&self, mut each: impl FnMut(Event)) -> io::Result<bool> {
        let mut batch = [EMPTY; BATCH];
        let count = self.0.ready(&mut batch)?;
        for event in &batch[..count] {
            each(Event {
                fd: RawFd::try_from(event.ident).unwrap_or(-1),
                readable: event.filter == READ,
                writable: event.filter == WRITE,
            });
        }
        Ok(count == batch.len())
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// An end or an error of the direction counts, too: each is told by its own filter.
const READ: i16 = libc::EVFILT_READ;
const WRITE: i16 = libc::EVFILT_WRITE;

/// Events per call: a full batch is followed by another turn, so it only bounds the stack.
const BATCH: usize = 64;
