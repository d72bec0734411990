//! Sockets: receive, send, accept, names and options.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroUsize;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use super::buffer::ReadBuffer;
use super::call::{is_denied, syscall};
use super::platform;

/// Receives into `buffer` and returns the number of bytes; 0 at end of stream.
pub(crate) fn recv(fd: RawFd, buffer: &mut ReadBuffer<'_>) -> io::Result<usize> {
    recv_with(fd, buffer, 0)
}

#[inline]
fn recv_with(fd: RawFd, buffer: &mut ReadBuffer<'_>, flags: libc::c_int) -> io::Result<usize> {
    let received = syscall!(recv(fd, buffer.start().cast(), buffer.room(), flags))?;
    let count = received.cast_unsigned();
    // SAFETY: the kernel wrote `count` bytes, and was given `room` as the limit.
    unsafe { buffer.advance(count) };
    Ok(count)
}

/// Like [`recv`], on a socket whose reads stop as `stops` says. Also returns whether more may follow a short read.
pub(crate) fn recv_stream(
    fd: RawFd,
    buffer: &mut ReadBuffer<'_>,
    stops: Stops,
) -> io::Result<(usize, bool)> {
    if stops != Stops::Messages {
        return Ok((recv(fd, buffer)?, stops == Stops::Unknown));
    }
    let mut room = libc::iovec {
        iov_base: buffer.start().cast(),
        iov_len: buffer.room(),
    };
    // SAFETY: all zeroes is a valid `msghdr`: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut room;
    message.msg_iovlen = 1;
    let received = match syscall!(recvmsg(fd, &raw mut message, 0)) {
        // Without the flag, the next read finds out whether there is more.
        Err(error) if is_denied(&error) => return Ok((recv(fd, buffer)?, true)),
        received => received?,
    };
    let count = received.cast_unsigned();
    // SAFETY: the kernel wrote `count` bytes, and was given `room` as the limit.
    unsafe { buffer.advance(count) };
    Ok((count, message.msg_flags & libc::MSG_CTRUNC != 0))
}

/// Like [`recv`], at most `most` bytes.
#[cold]
pub(crate) fn recv_some(
    fd: RawFd,
    buffer: &mut ReadBuffer<'_>,
    most: NonZeroUsize,
) -> io::Result<usize> {
    let room = buffer.room().min(most.get());
    let received = syscall!(recv(fd, buffer.start().cast(), room, 0))?;
    let count = received.cast_unsigned();
    // SAFETY: the kernel wrote `count` bytes, and was given at most `room` as the limit.
    unsafe { buffer.advance(count) };
    Ok(count)
}

/// Where the kernel ends a read although more data follows (`docs/design/0017-short-reads.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stops {
    /// TCP: at the urgent mark. The reactor reports it.
    Mark,
    /// `AF_UNIX`: after descriptors that were sent along, where the sender changes if credentials are requested, and
    /// at the urgent mark. The call reports the first two by a flag: it had no room for the control data.
    Messages,
    /// Anywhere: only `WouldBlock` shows that the socket is empty.
    Unknown,
}

impl Stops {
    /// For stream sockets, by `family` and `proto` of Python's socket module.
    pub(crate) fn of(family: i32, protocol: i32) -> Self {
        let is_tcp = matches!(protocol, 0 | libc::IPPROTO_TCP);
        match family {
            _ if !platform::TELLS_OF_STOPS => Self::Unknown,
            libc::AF_INET | libc::AF_INET6 if is_tcp => Self::Mark,
            libc::AF_UNIX => Self::Messages,
            _ => Self::Unknown,
        }
    }
}

/// Sends `data` and returns how many bytes the kernel accepted.
pub(crate) fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let sent = syscall!(send(
        fd,
        data.as_ptr().cast(),
        data.len(),
        libc::MSG_NOSIGNAL
    ))?;
    Ok(sent.cast_unsigned())
}

/// Like [`recv`], for a socket that may be blocking: returns `WouldBlock` where the call would wait.
pub(crate) fn recv_now(fd: RawFd, buffer: &mut ReadBuffer<'_>) -> io::Result<usize> {
    recv_with(fd, buffer, libc::MSG_DONTWAIT)
}

/// Like [`send`], for a socket that may be blocking: returns `WouldBlock` where the call would wait.
///
/// macOS honours the flag only for receiving: there, sending on a full blocking socket blocks, as asyncio's call
/// does.
pub(crate) fn send_now(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let sent = syscall!(send(fd, data.as_ptr().cast(), data.len(), flags))?;
    Ok(sent.cast_unsigned())
}

/// Sends the slices in order and returns how many bytes the kernel accepted. At most [`MAX_SLICES`] slices.
pub(crate) fn send_vectored(fd: RawFd, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all zeroes is a valid `msghdr`: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` has the layout of `iovec`, and `sendmsg` only reads through it.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len().min(MAX_SLICES) as _;
    match syscall!(sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL)) {
        Err(error) if is_denied(&error) && !slices.is_empty() => send(fd, &slices[0]),
        sent => sent.map(isize::cast_unsigned),
    }
}

pub(crate) use super::platform::{queued, unsent};

/// Shuts down the sending side; the peer then reads end of stream.
pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    syscall!(shutdown(fd, libc::SHUT_WR))?;
    Ok(())
}

/// Has a TCP socket send a reset when it is closed, and drop what it has not sent.
pub(crate) fn reset_when_closed(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = socklen(size_of_val(&linger));
    let linger = (&raw const linger).cast();
    syscall!(setsockopt(
        fd,
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        linger,
        length
    ))?;
    Ok(())
}

/// What a call returns after the peer has reset the connection.
pub(crate) fn reset_error() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNRESET)
}

/// Accepts the next connection, close-on-exec and non-blocking, and returns it with its peer's address.
pub(crate) fn accept(fd: RawFd) -> io::Result<(OwnedFd, Name)> {
    let mut name = Name::empty();
    let accepted = platform::accept(fd, &mut name)?;
    Ok((accepted, name))
}

/// How many connections wait to be accepted, for a TCP socket of Linux.
pub(crate) fn waiting(fd: RawFd) -> Option<usize> {
    platform::waiting(fd)
}

/// The socket's own address.
pub(crate) fn local_name(fd: RawFd) -> io::Result<Name> {
    let mut name = Name::empty();
    syscall!(getsockname(
        fd,
        (&raw mut name.storage).cast(),
        &raw mut name.length
    ))?;
    Ok(name)
}

/// The peer's address.
pub(crate) fn peer_name(fd: RawFd) -> io::Result<Name> {
    let mut name = Name::empty();
    syscall!(getpeername(
        fd,
        (&raw mut name.storage).cast(),
        &raw mut name.length
    ))?;
    Ok(name)
}

/// Sends small segments without delay (`TCP_NODELAY`), as asyncio does for TCP.
pub(crate) fn set_nodelay(fd: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = socklen(size_of_val(&on));
    let on = (&raw const on).cast();
    syscall!(setsockopt(
        fd,
        libc::IPPROTO_TCP,
        libc::TCP_NODELAY,
        on,
        length
    ))?;
    Ok(())
}

/// Removes the file of a Unix socket, unless another file has replaced it.
pub(crate) fn remove_file(path: &Path, inode: u64) -> io::Result<()> {
    if fs::metadata(path)?.ino() == inode {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// A socket address as the kernel writes it.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) length: libc::socklen_t,
}

impl Name {
    /// The address, if it is an internet address.
    pub(crate) fn internet(&self) -> Option<SocketAddr> {
        let family = libc::c_int::from(self.storage.ss_family);
        let storage = &raw const self.storage;
        if family == libc::AF_INET && self.length as usize >= size_of::<libc::sockaddr_in>() {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in`, and `storage` is large enough and
            // aligned for it.
            let v4 = unsafe { &*storage.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            return Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into());
        }
        if family == libc::AF_INET6 && self.length as usize >= size_of::<libc::sockaddr_in6>() {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in6`, and `storage` is large enough and
            // aligned for it.
            let v6 = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let (port, flow) = (u16::from_be(v6.sin6_port), u32::from_be(v6.sin6_flowinfo));
            return Some(SocketAddrV6::new(ip, port, flow, v6.sin6_scope_id).into());
        }
        None
    }

    /// The path of an `AF_UNIX` address. Abstract names begin with a zero byte; the name of an unnamed socket is
    /// empty.
    pub(crate) fn unix(&self) -> Option<&[u8]> {
        let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
        let length = self.length as usize;
        // The kernel writes nothing for an unnamed sender or peer.
        if length == 0 || libc::c_int::from(self.storage.ss_family) != libc::AF_UNIX {
            return None;
        }
        let path = start..length.clamp(start, size_of::<libc::sockaddr_un>());
        let storage = (&raw const self.storage).cast::<u8>();
        // SAFETY: `storage` is zeroed before the kernel writes to it, so all its bytes are initialised; it is larger
        // than a `sockaddr_un`, and borrowed for as long as the result.
        let bytes = unsafe { std::slice::from_raw_parts(storage, path.end) };
        Some(platform::unix_path(&bytes[path]))
    }

    /// The name of a socket file. `None` if it is too long, or if it is no path: empty, or with a zero byte.
    pub(crate) fn of_path(path: &[u8]) -> Option<Self> {
        let mut name = Self::empty();
        let storage = &raw mut name.storage;
        // SAFETY: `storage` is large enough and aligned for a `sockaddr_un`, for which all zeroes is valid.
        let raw = unsafe { &mut *storage.cast::<libc::sockaddr_un>() };
        if path.is_empty() || path.len() >= raw.sun_path.len() || path.contains(&0) {
            return None;
        }
        raw.sun_family = family(libc::AF_UNIX);
        for (to, byte) in raw.sun_path.iter_mut().zip(path) {
            *to = libc::c_char::from_ne_bytes([*byte]);
        }
        // With the zero byte at the end.
        let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
        name.length = socklen(start + path.len() + 1);
        Some(name)
    }

    pub(super) fn empty() -> Self {
        Self {
            // SAFETY: all zeroes is a valid `sockaddr_storage` (family `AF_UNSPEC`).
            storage: unsafe { std::mem::zeroed() },
            length: socklen(size_of::<libc::sockaddr_storage>()),
        }
    }
}

impl From<&SocketAddr> for Name {
    fn from(address: &SocketAddr) -> Self {
        let mut name = Self::empty();
        let storage = &raw mut name.storage;
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: `storage` is large enough and aligned for a `sockaddr_in`, for which all zeroes is valid.
                let raw = unsafe { &mut *storage.cast::<libc::sockaddr_in>() };
                raw.sin_family = family(libc::AF_INET);
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                name.length = socklen(size_of::<libc::sockaddr_in>());
            }
            SocketAddr::V6(v6) => {
                // SAFETY: `storage` is large enough and aligned for a `sockaddr_in6`, for which all zeroes is valid.
                let raw = unsafe { &mut *storage.cast::<libc::sockaddr_in6>() };
                raw.sin6_family = family(libc::AF_INET6);
                raw.sin6_port = v6.port().to_be();
                raw.sin6_flowinfo = v6.flowinfo().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_scope_id = v6.scope_id();
                name.length = socklen(size_of::<libc::sockaddr_in6>());
            }
        }
        name
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Name({:?})", self.internet())
    }
}

fn family(number: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).unwrap_or(libc::sa_family_t::MAX)
}

/// Converts a size of at most a few bytes.
pub(super) fn socklen(size: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(size).unwrap_or(libc::socklen_t::MAX)
}

/// Slices per call (`IOV_MAX`); the kernel refuses more.
pub(crate) const MAX_SLICES: usize = 1024;

/// `AF_INET` and `AF_INET6`, as Python's socket module numbers them.
pub(crate) const INTERNET_FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
/// `AF_UNIX`, as Python's socket module numbers it.
pub(crate) const UNIX_FAMILY: i32 = libc::AF_UNIX;
/// `SOCK_STREAM`, as Python's socket module numbers it.
pub(crate) const STREAM: i32 = libc::SOCK_STREAM;
/// `SOCK_DGRAM`, as Python's socket module numbers it.
pub(crate) const DATAGRAM: i32 = libc::SOCK_DGRAM;

/// Whether accepting failed for lack of descriptors or memory, so that it may work later.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether the socket was closed: its number is free, or belongs to a file that is not a socket.
pub(crate) fn is_not_a_socket(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK))
}
