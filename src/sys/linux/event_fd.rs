//! `eventfd()`, and a replacement where a sandbox denies it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use crate::sys::call::{is_denied, syscall};
use crate::sys::socket::Name;

/// Replaces the C library's `eventfd()` for mio, which uses it to wake the reactor; `build.rs` has the linker
/// redirect the call. Where `eventfd()` is denied, tokio could not build a runtime, although asyncio works there.
#[unsafe(no_mangle)]
extern "C" fn __wrap_eventfd(count: libc::c_uint, flags: libc::c_int) -> libc::c_int {
    // SAFETY: the system call behind the C library's function: it takes two numbers, and returns a descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_eventfd2, count, flags) };
    if let Ok(fd) = libc::c_int::try_from(fd)
        && fd >= 0
    {
        return fd;
    }
    let error = io::Error::last_os_error();
    if is_denied(&error)
        && let Ok(socket) = own_peer()
    {
        return socket.into_raw_fd();
    }
    // SAFETY: may be called at any time.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this is the address of this thread's `errno`.
    unsafe { errno.write(error.raw_os_error().unwrap_or(libc::ENOSYS)) };
    -1
}

/// A datagram socket connected to itself, which supports what mio does with an eventfd: writing eight bytes makes it
/// readable, and a write to a full one would block, after which mio reads eight bytes and writes again.
fn own_peer() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let fd = syscall!(socket(libc::AF_UNIX, kind, 0))?;
    // SAFETY: the call above created this descriptor, and no other code has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut name = Name::empty();
    name.storage.ss_family = FAMILY;
    // An address without a path makes the kernel choose an abstract name.
    syscall!(bind(
        fd.as_raw_fd(),
        (&raw const name.storage).cast(),
        FAMILY_LENGTH
    ))?;
    syscall!(getsockname(
        fd.as_raw_fd(),
        (&raw mut name.storage).cast(),
        &raw mut name.length
    ))?;
    syscall!(connect(
        fd.as_raw_fd(),
        (&raw const name.storage).cast(),
        name.length
    ))?;
    Ok(fd)
}

#[expect(clippy::cast_possible_truncation, reason = "1, as on every system")]
const FAMILY: libc::sa_family_t = libc::AF_UNIX as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "two bytes")]
const FAMILY_LENGTH: libc::socklen_t = size_of::<libc::sa_family_t>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pipe;

    #[test]
    fn what_is_written_to_a_socket_that_is_its_own_peer_can_be_read_there() {
        let socket = own_peer().unwrap();
        let fd = socket.as_raw_fd();
        assert!(!pipe::has_input(fd).unwrap());
        let full = loop {
            if let Err(error) = crate::sys::socket::send(fd, &[1; 8]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(pipe::has_input(fd).unwrap());
    }
}
