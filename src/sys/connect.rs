//! Opening a TCP or Unix connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::call::syscall;
use super::platform;
use super::socket::{Name, socklen};

/// How far `connect()` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Connected,
    /// The socket becomes writable when the connection is made or has failed; [`take_error`] then says which.
    Pending,
    /// The connection failed after it had begun, with this `errno`.
    Failed(i32),
}

/// Creates a non-blocking, close-on-exec TCP socket and begins to connect it. An error means that it could not begin.
pub(crate) fn connect(address: &SocketAddr, protocol: i32) -> io::Result<(OwnedFd, Progress)> {
    let name = Name::from(address);
    let fd = platform::stream_socket(i32::from(name.storage.ss_family), protocol)?;
    let progress = match attempt(fd.as_raw_fd(), &name) {
        Ok(()) => Progress::Connected,
        Err(error) if !is_pending(&error) => return Err(error),
        // A connection within the machine is complete by now. A second call says so, which saves the wait.
        Err(_) => match attempt(fd.as_raw_fd(), &name) {
            Ok(()) => Progress::Connected,
            Err(error) => match error.raw_os_error() {
                Some(libc::EISCONN) => Progress::Connected,
                Some(number) if !is_pending(&error) => Progress::Failed(number),
                _ => Progress::Pending,
            },
        },
    };
    Ok((fd, progress))
}

/// Connects a new socket to a listener's file. The kernel answers at once: with `WouldBlock` where the listener's queue
/// is full, and no event tells when there is room.
pub(crate) fn connect_unix(name: &Name) -> io::Result<OwnedFd> {
    let fd = platform::stream_socket(libc::AF_UNIX, 0)?;
    attempt(fd.as_raw_fd(), name)?;
    Ok(fd)
}

fn attempt(fd: RawFd, name: &Name) -> io::Result<()> {
    syscall!(connect(fd, (&raw const name.storage).cast(), name.length))?;
    Ok(())
}

/// `EALREADY` is what a call gets that is repeated after a signal interrupted it.
fn is_pending(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINPROGRESS | libc::EALREADY)
    )
}

/// Returns and clears the socket's pending error (`SO_ERROR`); 0 for none.
pub(crate) fn take_error(fd: RawFd) -> io::Result<i32> {
    let mut number: libc::c_int = 0;
    let mut length = socklen(size_of_val(&number));
    syscall!(getsockopt(
        fd,
        libc::SOL_SOCKET,
        libc::SO_ERROR,
        (&raw mut number).cast(),
        &raw mut length
    ))?;
    Ok(number)
}
