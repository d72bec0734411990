//! The set of watched descriptors: a separate kqueue.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use super::kqueue::{EMPTY, Kqueue, MOST_CHANGES, change};
use crate::sys::poller::{Event, Interest};

/// A set of descriptors that user code owns, and may close or reuse at any time.
///
/// A kqueue identifies a descriptor by its number alone and forgets it when the number is closed, so it never reports
/// an old file under a reused number. The two directions are separate entries with separate events.
#[derive(Debug)]
pub(crate) struct Poller(Kqueue);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Kqueue::new().map(Self)
    }

    /// Same as `modify`: a kqueue accepts both numbers that it has and numbers that it does not have.
    pub(crate) fn add(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.modify(fd, interest)
    }

    /// Removes and adds each direction, because an existing entry would keep its old flags.
    pub(crate) fn modify(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        let once = if interest.once { libc::EV_ONESHOT } else { 0 };
        let mut changes = [EMPTY; MOST_CHANGES];
        let mut count = 0;
        for (filter, wanted) in [(READ, interest.read), (WRITE, interest.write)] {
            changes[count] = change(fd, filter, libc::EV_DELETE);
            count += 1;
            if wanted {
                changes[count] = libc::kevent {
                    udata: ptr::without_provenance_mut(interest.tag as usize),
                    ..change(fd, filter, libc::EV_ADD | once)
                };
                count += 1;
            }
        }
        self.0.change(&changes[..count])
    }

    /// Removes both directions. Fails if events may still arrive.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.modify(fd, Interest::default())
    }

    /// Calls `each` with what is ready now, without waiting. Returns whether there may be more.
    pub(crate) fn ready(&self, mut each: impl FnMut(Event)) -> io::Result<bool> {
        let mut batch = [EMPTY; BATCH];
        let count = self.0.ready(&mut batch)?;
        for event in &batch[..count] {
            each(Event {
                fd: RawFd::try_from(event.ident).unwrap_or(-1),
                readable: event.filter == READ,
                writable: event.filter == WRITE,
                tag: u32::try_from(event.udata.addr()).unwrap_or(0),
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

/// Each filter also reports the end of file and the error of its own direction.
const READ: i16 = libc::EVFILT_READ;
const WRITE: i16 = libc::EVFILT_WRITE;

/// Events per call. After a full batch the loop polls again, so this only bounds the stack use.
const BATCH: usize = 64;
