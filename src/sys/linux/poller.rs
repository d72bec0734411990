//! The set of watched descriptors: a separate epoll set.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::call::syscall;
use crate::sys::poller::{Event, Interest};

/// A set of descriptors that user code owns, and may close or reuse at any time.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = syscall!(epoll_create1(libc::EPOLL_CLOEXEC))?;
        // SAFETY: the call above created this descriptor, and no other code has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds `fd`. Fails with `EEXIST` if it is in the set, `EBADF` if it is closed, `EPERM` if it cannot be watched.
    pub(crate) fn add(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest)
    }

    /// Changes what `fd` is watched for, or arms it again. Fails with `ENOENT` if it is not in the set.
    pub(crate) fn modify(&self, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest)
    }

    /// Removes `fd`. Fails with `ENOENT` if it is not in the set, and `EBADF` if it is closed.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, Interest::default())
    }

    /// Calls `each` with what is ready now, without waiting. Returns whether there may be more.
    pub(crate) fn ready(&self, each: impl FnMut(Event)) -> io::Result<bool> {
        let mut batch = [libc::epoll_event { events: 0, u64: 0 }; BATCH.cast_unsigned() as usize];
        let count = syscall!(epoll_wait(self.0.as_raw_fd(), batch.as_mut_ptr(), BATCH, 0))?;
        let count = usize::try_from(count).unwrap_or(0);
        let events = batch[..count].iter().map(|event| {
            let mask = event.events.cast_signed();
            let broken = mask & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            Event {
                fd: low(event.u64).cast_signed(),
                readable: broken || mask & libc::EPOLLIN != 0,
                writable: broken || mask & libc::EPOLLOUT != 0,
                tag: low(event.u64 >> 32),
            }
        });
        events.for_each(each);
        Ok(count == batch.len())
    }

    fn control(&self, operation: i32, fd: RawFd, interest: Interest) -> io::Result<()> {
        let mut mask = 0;
        if interest.read {
            mask |= libc::EPOLLIN;
        }
        if interest.write {
            mask |= libc::EPOLLOUT;
        }
        if interest.once {
            mask |= libc::EPOLLONESHOT;
        }
        let mut event = libc::epoll_event {
            events: mask.cast_unsigned(),
            u64: u64::from(interest.tag) << 32 | u64::from(fd.cast_unsigned()),
        };
        syscall!(epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event))?;
        Ok(())
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "takes the low half")]
fn low(word: u64) -> u32 {
    word as u32
}

/// Events per call. After a full batch the loop polls again, so this only bounds the stack use.
const BATCH: libc::c_int = 64;
