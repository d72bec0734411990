//! What macOS's sockets have of their own.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::call::syscall;
use crate::sys::pipe::set_nonblocking;
use crate::sys::socket::Name;

/// The next waiting connection, close-on-exec and non-blocking; its peer goes to `name`.
///
/// A child that another thread starts before the second call inherits it, as with Python's own `accept`.
pub(crate) fn accept(fd: RawFd, name: &mut Name) -> io::Result<OwnedFd> {
    let storage = (&raw mut name.storage).cast();
    let accepted = syscall!(accept(fd, storage, &raw mut name.length))?;
    // SAFETY: the call above just made this descriptor and nobody else knows it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    syscall!(fcntl(accepted.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
    set_nonblocking(accepted.as_raw_fd())?;
    Ok(accepted)
}

/// The path in what the kernel wrote: there are no abstract names, and one without a name is all zero bytes.
pub(crate) fn unix_path(written: &[u8]) -> &[u8] {
    written.split(|byte| *byte == 0).next().unwrap_or_default()
}
