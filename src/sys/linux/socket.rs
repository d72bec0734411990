//! What Linux's sockets have of their own.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::sys::socket::Name;
use crate::sys::syscall;

/// The next waiting connection, close-on-exec and non-blocking; its peer goes to `name`.
pub(crate) fn accept(fd: RawFd, name: &mut Name) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let storage = (&raw mut name.storage).cast();
    let accepted = syscall!(accept4(fd, storage, &raw mut name.length, flags))?;
    // SAFETY: the call above just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
}

/// The path in what the kernel wrote: all of it, for a name may have zero bytes.
pub(crate) fn unix_path(written: &[u8]) -> &[u8] {
    written
}
