//! Socket calls that are specific to Linux.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::call::syscall;
use crate::sys::socket::{Name, socklen};

/// Accepts the next connection, close-on-exec and non-blocking, and writes the peer's address to `name`.
pub(crate) fn accept(fd: RawFd, name: &mut Name) -> io::Result<OwnedFd> {
    if !HAS_ACCEPT4.load(Ordering::Relaxed) {
        return accept_plainly(fd, name);
    }
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let storage = (&raw mut name.storage).cast();
    match syscall!(accept4(fd, storage, &raw mut name.length, flags)) {
        // SAFETY: the call above created this descriptor, and no other code has it.
        Ok(accepted) => Ok(unsafe { OwnedFd::from_raw_fd(accepted) }),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            HAS_ACCEPT4.store(false, Ordering::Relaxed);
            accept_plainly(fd, name)
        }
        // A sandbox denies the call, or a firewall the connection: try the other call.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => accept_plainly(fd, name),
        Err(error) => Err(error),
    }
}

/// Does the same in three calls. A program that another thread starts in between inherits the connection.
fn accept_plainly(fd: RawFd, name: &mut Name) -> io::Result<OwnedFd> {
    let storage = (&raw mut name.storage).cast();
    let accepted = syscall!(accept(fd, storage, &raw mut name.length))?;
    // SAFETY: the call above created this descriptor, and no other code has it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    syscall!(fcntl(accepted.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC))?;
    let flags = syscall!(fcntl(accepted.as_raw_fd(), libc::F_GETFL))?;
    syscall!(fcntl(
        accepted.as_raw_fd(),
        libc::F_SETFL,
        flags | libc::O_NONBLOCK
    ))?;
    Ok(accepted)
}

/// Cleared by the first call that finds it missing. Relaxed: it is only a hint.
static HAS_ACCEPT4: AtomicBool = AtomicBool::new(true);

/// The length of a listening socket's queue, which the kernel reports in a field of other meaning for connections.
pub(crate) fn waiting(fd: RawFd) -> Option<usize> {
    // The first words of `tcp_info`; the kernel writes no more than fit.
    let mut info = [0_u32; UNACKED + 1];
    let mut length = socklen(size_of_val(&info));
    syscall!(getsockopt(
        fd,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        info.as_mut_ptr().cast(),
        &raw mut length
    ))
    .ok()?;
    usize::try_from(info[UNACKED]).ok()
}

/// The word of `tcpi_unacked`: eight small fields and four words come before it.
const UNACKED: usize = 6;

/// Creates a stream socket, close-on-exec and non-blocking.
pub(crate) fn stream_socket(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let created = syscall!(socket(family, kind, protocol))?;
    // SAFETY: the call above created this descriptor, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(created) })
}

/// The path in what the kernel wrote: all of it, for a name may have zero bytes.
pub(crate) fn unix_path(written: &[u8]) -> &[u8] {
    written
}

/// The number of bytes that the kernel holds for the peer of a stream socket.
pub(crate) fn queued(fd: RawFd) -> io::Result<u32> {
    let mut count: libc::c_int = 0;
    syscall!(ioctl(fd, libc::TIOCOUTQ, &raw mut count))?;
    Ok(count.cast_unsigned())
}

/// The number of bytes that the kernel has not sent to the peer of a stream socket yet.
pub(crate) fn unsent(fd: RawFd) -> io::Result<u32> {
    let mut count: libc::c_int = 0;
    match syscall!(ioctl(fd, SIOCOUTQNSD, &raw mut count)) {
        Ok(_) => Ok(count.cast_unsigned()),
        Err(_) => queued(fd), // Not TCP.
    }
}

/// From `linux/sockios.h`.
const SIOCOUTQNSD: libc::Ioctl = 0x894B;
