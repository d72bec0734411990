//! Many datagrams, one by one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::sys::datagram::{MOST, send};

pub(crate) use crate::sys::datagram::receive_one_by_one as receive_many;

/// Sends datagrams in order, up to [`MOST`] of them; answers how many the kernel took.
///
/// An error is the first one's; those of later ones come when they are first.
pub(crate) fn send_many<'a>(
    fd: RawFd,
    datagrams: impl Iterator<Item = (&'a [u8], Option<&'a SocketAddr>)>,
) -> io::Result<usize> {
    let mut sent = 0;
    for (data, address) in datagrams.take(MOST) {
        match send(fd, data, address) {
            Ok(()) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            // Ignored: it comes again if it lasts.
            Err(_) => break,
        }
    }
    Ok(sent)
}
