//! Pipes and similar files: read, write, and find out what kind of file a descriptor is.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::buffer::ReadBuffer;
use super::call::{is_denied, syscall};

/// A kind of file that a pipe transport may own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A pipe or a named FIFO.
    Fifo,
    Socket,
    /// A character device, such as a terminal or a pseudo-terminal.
    Character,
}

/// The kind of `fd`; `None` for a regular file and any other file that a reactor cannot wait for.
pub(crate) fn kind(fd: RawFd) -> io::Result<Option<FileKind>> {
    // SAFETY: all zeroes is a valid `stat`, which only holds numbers.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    syscall!(fstat(fd, &raw mut status))?;
    Ok(match status.st_mode & libc::S_IFMT {
        libc::S_IFIFO => Some(FileKind::Fifo),
        libc::S_IFSOCK => Some(FileKind::Socket),
        libc::S_IFCHR => Some(FileKind::Character),
        _ => None,
    })
}

/// Makes `fd` non-blocking.
pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    let flags = syscall!(fcntl(fd, libc::F_GETFL))?;
    if flags & libc::O_NONBLOCK == 0 {
        syscall!(fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Reads into `buffer` and returns the number of bytes; 0 at end of file.
pub(crate) fn read(fd: RawFd, buffer: &mut ReadBuffer<'_>) -> io::Result<usize> {
    let count = syscall!(read(fd, buffer.start().cast(), buffer.room()))?;
    let count = count.cast_unsigned();
    // SAFETY: the kernel wrote `count` bytes, and was given `room` as the limit.
    unsafe { buffer.advance(count) };
    Ok(count)
}

/// Whether a pipe holds bytes. Cheaper than [`has_input`] on a pipe.
pub(crate) fn is_filled(fd: RawFd) -> io::Result<bool> {
    Ok(input_size(fd)? > 0)
}

/// The bytes that a pipe or a stream socket holds.
pub(crate) fn input_size(fd: RawFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    syscall!(ioctl(fd, libc::FIONREAD, &raw mut count))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Whether a read would return at once.
pub(crate) fn has_input(fd: RawFd) -> io::Result<bool> {
    let mut asked = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    syscall!(poll(&raw mut asked, 1, 0))?;
    Ok(asked.revents & libc::POLLIN != 0)
}

/// Writes `data` and returns how many bytes the kernel accepted.
pub(crate) fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let count = syscall!(write(fd, data.as_ptr().cast(), data.len()))?;
    Ok(count.cast_unsigned())
}

/// Writes the slices in order and returns how many bytes the kernel accepted. At most `IOV_MAX` slices.
pub(crate) fn write_vectored(fd: RawFd, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let length = libc::c_int::try_from(slices.len()).unwrap_or(libc::c_int::MAX);
    // `IoSlice` has the layout of `iovec`.
    match syscall!(writev(fd, slices.as_ptr().cast(), length)) {
        Err(error) if is_denied(&error) && !slices.is_empty() => write(fd, &slices[0]),
        count => count.map(isize::cast_unsigned),
    }
}

/// Whether this is the error (`EIO`) of reading a terminal whose other end is closed.
pub(crate) fn is_hang_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// A new descriptor of the same open file.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    let fd = syscall!(fcntl(fd, libc::F_DUPFD_CLOEXEC, 0))?;
    // SAFETY: the call above created this descriptor, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
