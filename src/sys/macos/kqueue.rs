//! A kqueue: applies changes and reads events.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::call::syscall;
use crate::sys::fork::Generation;

/// A kqueue of this process. A forked child does not inherit it.
#[derive(Debug)]
pub(super) struct Kqueue {
    fd: RawFd,
    made_in: Generation,
}

impl Kqueue {
    pub(super) fn new() -> io::Result<Self> {
        let fd = syscall!(kqueue())?;
        let kqueue = Self {
            fd,
            made_in: Generation::current(),
        };
        syscall!(fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))?;
        Ok(kqueue)
    }

    /// Makes up to [`MOST_CHANGES`] changes in order. Returns the first error of a change that adds something.
    ///
    /// All changes are tried, even after one fails. Removing an entry that does not exist is not an error.
    pub(super) fn change(&self, changes: &[libc::kevent]) -> io::Result<()> {
        let mut receipts = [EMPTY; MOST_CHANGES];
        let made = self.call(changes, &mut receipts[..changes.len()])?;
        let refused = changes
            .iter()
            .zip(&receipts[..made])
            .find(|(change, receipt)| change.flags & libc::EV_DELETE == 0 && receipt.data != 0);
        refused.map_or(Ok(()), |(_, receipt)| {
            let code = i32::try_from(receipt.data).unwrap_or(libc::EINVAL);
            Err(io::Error::from_raw_os_error(code))
        })
    }

    /// Fills the front of `events` with what is ready now, and returns how many there are.
    pub(super) fn ready(&self, events: &mut [libc::kevent]) -> io::Result<usize> {
        self.call(&[], events)
    }

    /// Never waits. Each change returns a receipt among the events.
    fn call(&self, changes: &[libc::kevent], events: &mut [libc::kevent]) -> io::Result<usize> {
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let count = syscall!(kevent(
            self.fd,
            changes.as_ptr(),
            c_int(changes.len()),
            events.as_mut_ptr(),
            c_int(events.len()),
            &raw const at_once
        ))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

impl AsRawFd for Kqueue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

/// In a forked child the number is closed, or belongs to another file by now.
impl Drop for Kqueue {
    fn drop(&mut self) {
        if !self.made_in.is_over() {
            // SAFETY: `new` created it in this process, and only this drop closes it.
            drop(unsafe { OwnedFd::from_raw_fd(self.fd) });
        }
    }
}

/// A change that returns a receipt even when it succeeds (`EV_RECEIPT`), so that a failing one does not stop the
/// others.
pub(super) fn change(ident: RawFd, filter: i16, flags: u16) -> libc::kevent {
    libc::kevent {
        ident: usize::try_from(ident).unwrap_or(usize::MAX),
        filter,
        flags: flags | libc::EV_RECEIPT,
        ..EMPTY
    }
}

/// Converts a small count.
fn c_int(count: usize) -> libc::c_int {
    libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX)
}

/// Two directions, each removed and added again.
pub(super) const MOST_CHANGES: usize = 4;

/// A placeholder for the kernel to fill.
pub(super) const EMPTY: libc::kevent = libc::kevent {
    ident: 0,
    filter: 0,
    flags: 0,
    fflags: 0,
    data: 0,
    udata: std::ptr::null_mut(),
};
