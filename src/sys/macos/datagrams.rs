//! Many datagrams, one call for each.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::sys::datagram::{MOST, send};

pub(crate) use crate::sys::datagram::receive_one_by_one as receive_many;

/// Sends datagrams in order, at most [`MOST`], and returns how many the kernel accepted.
///
/// Returns an error only for the first one; a later one fails when it is the first of its call.
pub(crate) fn send_many<'a>(
    fd: RawFd,
    datagrams: impl Iterator<Item = (&'a [u8], Option<&'a SocketAddr>)>,
) -> io::Result<usize> {
    let mut sent = 0;
    for (data, address) in datagrams.take(MOST) {
        match send(fd, data, address) {
            Ok(()) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            // Ignored: the next call returns it again if it persists.
            Err(_) => break,
        }
    }
    Ok(sent)
}
