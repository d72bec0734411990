//! Pipes, and what is used like them: read, write, and what a descriptor is.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::buffer::ReadBuffer;
use super::call::syscall;

/// What a pipe transport may own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A pipe or a named FIFO.
    Fifo,
    Socket,
    /// A terminal, a pseudo-terminal, another character device.
    Character,
}

/// What `fd` is; `None` for a regular file and everything else that is never waited for.
pub(crate) fn kind(fd: RawFd) -> io::Result<Option<FileKind>> {
    // SAFETY: all zeroes is a valid `stat`: numbers only.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    syscall!(fstat(fd, &raw mut status))?;
    Ok(match status.st_mode & libc::S_IFMT {
        libc::S_IFIFO => Some(FileKind::Fifo),
        libc::S_IFSOCK => Some(FileKind::Socket),
        libc::S_IFCHR => Some(FileKind::Character),
        _ => None,
    })
}

/// Makes calls on `fd` return at once.
pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    let flags = syscall!(fcntl(fd, libc::F_GETFL))?;
    if flags & libc::O_NONBLOCK == 0 {
        syscall!(fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Bytes read into `buffer`; 0 at the end.
pub(crate) fn read(fd: RawFd, buffer: &mut ReadBuffer<'_>) -> io::Result<usize> {
    let count = syscall!(read(fd, buffer.start().cast(), buffer.room()))?;
    let count = count.cast_unsigned();
    // SAFETY: the kernel wrote so many bytes, and was told how much room there is.
    unsafe { buffer.advance(count) };
    Ok(count)
}

/// Whether a pipe holds bytes; on a pipe cheaper than [`has_input`].
pub(crate) fn is_filled(fd: RawFd) -> io::Result<bool> {
    let mut count: libc::c_int = 0;
    syscall!(ioctl(fd, libc::FIONREAD, &raw mut count))?;
    Ok(count > 0)
}

/// Whether there is something to read now.
pub(crate) fn has_input(fd: RawFd) -> io::Result<bool> {
    let mut asked = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    syscall!(poll(&raw mut asked, 1, 0))?;
    Ok(asked.revents & libc::POLLIN != 0)
}

/// Bytes of `data` that the kernel took.
pub(crate) fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let count = syscall!(write(fd, data.as_ptr().cast(), data.len()))?;
    Ok(count.cast_unsigned())
}

/// Bytes of the slices, in order, that the kernel took. At most `IOV_MAX` of them.
pub(crate) fn write_vectored(fd: RawFd, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let length = libc::c_int::try_from(slices.len()).unwrap_or(libc::c_int::MAX);
    // `IoSlice` has the layout of `iovec`.
    let count = syscall!(writev(fd, slices.as_ptr().cast(), length))?;
    Ok(count.cast_unsigned())
}

/// What reading a terminal says once its other end is closed (`EIO`).
pub(crate) fn is_hang_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Another number for the same open file.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    let fd = syscall!(fcntl(fd, libc::F_DUPFD_CLOEXEC, 0))?;
    // SAFETY: the call above just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
