//! Socket calls that are specific to macOS.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::call::syscall;
use crate::sys::pipe::set_nonblocking;
use crate::sys::socket::Name;

/// Accepts the next connection, close-on-exec and non-blocking, and writes the peer's address to `name`.
///
/// A child that another thread starts before the second call inherits the connection, as with Python's own `accept`.
pub(crate) fn accept(fd: RawFd, name: &mut Name) -> io::Result<OwnedFd> {
    let storage = (&raw mut name.storage).cast();
    let accepted = syscall!(accept(fd, storage, &raw mut name.length))?;
    // SAFETY: the call above created this descriptor, and no other code has it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    syscall!(fcntl(accepted.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
    set_nonblocking(accepted.as_raw_fd())?;
    Ok(accepted)
}

/// The length of a listening socket's queue, which this system does not report.
pub(crate) fn waiting(_fd: RawFd) -> Option<usize> {
    None
}

/// Creates a stream socket, close-on-exec and non-blocking.
pub(crate) fn stream_socket(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    let created = syscall!(socket(family, libc::SOCK_STREAM, protocol))?;
    // SAFETY: the call above created this descriptor, and no other code has it.
    let created = unsafe { OwnedFd::from_raw_fd(created) };
    syscall!(fcntl(created.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
    set_nonblocking(created.as_raw_fd())?;
    Ok(created)
}

/// The path in an address that the kernel wrote. macOS has no abstract names, and an unnamed address is all zero
/// bytes.
pub(crate) fn unix_path(written: &[u8]) -> &[u8] {
    written.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The number of bytes that the kernel holds for the peer of a stream socket.
pub(crate) fn queued(fd: RawFd) -> io::Result<u32> {
    let mut count: libc::c_int = 0;
    let mut size = SIZE_OF_INT;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_NWRITE);
    syscall!(getsockopt(
        fd,
        level,
        name,
        (&raw mut count).cast(),
        &raw mut size
    ))?;
    Ok(count.cast_unsigned())
}

/// As [`queued`]: the kernel does not tell what of that is under way.
pub(crate) fn unsent(fd: RawFd) -> io::Result<u32> {
    queued(fd)
}

const SIZE_OF_INT: libc::socklen_t = 4;
