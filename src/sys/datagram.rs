//! Datagrams: received and sent one at a time, or many in one call.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::buffer::ReadBuffer;
use super::call::syscall;
use super::socket::Name;

pub(crate) use super::platform::{receive_many, send_many};

/// Receives one datagram into `buffer` and returns its sender; bytes that do not fit are lost.
pub(crate) fn receive(fd: RawFd, buffer: &mut ReadBuffer<'_>) -> io::Result<Name> {
    let mut name = Name::empty();
    let received = syscall!(recvfrom(
        fd,
        buffer.start().cast(),
        buffer.room(),
        libc::MSG_DONTWAIT,
        (&raw mut name.storage).cast(),
        &raw mut name.length
    ))?;
    // SAFETY: the kernel wrote `received` bytes, and was given `room` as the limit.
    unsafe { buffer.advance(received.cast_unsigned()) };
    Ok(name)
}

/// [`receive_many`] where the kernel has no call for it: one call per datagram.
pub(crate) fn receive_one_by_one(
    fd: RawFd,
    buffer: &mut [MaybeUninit<u8>],
    most: usize,
    mut each: impl FnMut(&[u8], &Name),
) -> io::Result<usize> {
    for count in 0..most {
        let mut buffer = ReadBuffer::new(&mut buffer[..SLOT]);
        match receive(fd, &mut buffer) {
            Ok(name) => each(buffer.filled(), &name),
            Err(error) if count == 0 => return Err(error),
            // Ignored: it is `WouldBlock`, or an error that the next call returns again if it persists.
            Err(_) => return Ok(count),
        }
    }
    Ok(most)
}

/// Sends one datagram to `address`, or to the connected peer for `None`.
pub(crate) fn send(fd: RawFd, data: &[u8], address: Option<&SocketAddr>) -> io::Result<()> {
    let Some(address) = address else {
        return super::socket::send(fd, data).map(drop);
    };
    let name = Name::from(address);
    syscall!(sendto(
        fd,
        data.as_ptr().cast(),
        data.len(),
        libc::MSG_NOSIGNAL,
        (&raw const name.storage).cast(),
        name.length
    ))?;
    Ok(())
}

/// Datagrams per call. Beyond 16 the cost per datagram hardly falls, and a larger batch delays other sources.
pub(crate) const MOST: usize = 16;
/// Bytes per slot. No UDP datagram is larger, as its length field has 16 bits.
pub(super) const SLOT: usize = 64 * 1024;
/// Bytes from one slot to the next. At a distance of exactly 64 KiB, all slots would share the same few cache sets.
pub(crate) const SLOT_STRIDE: usize = SLOT + 17 * 64;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    type Receive =
        fn(RawFd, &mut [MaybeUninit<u8>], usize, &mut dyn FnMut(&[u8], &Name)) -> io::Result<usize>;

    const WAYS: [Receive; 2] = [
        |fd, buffer, most, each| receive_many(fd, buffer, most, each),
        |fd, buffer, most, each| receive_one_by_one(fd, buffer, most, each),
    ];

    #[test]
    fn many_arrive_whole_and_in_order_either_way() {
        for receive in WAYS {
            let (here, there) = (bound(), bound());
            let address = here.local_addr().unwrap();
            // macOS accepts no larger ones by default.
            let large = if cfg!(target_os = "macos") {
                9000
            } else {
                60_000
            };
            let sizes = [0, 1, 1472, large, 2];
            let data: Vec<Vec<u8>> = (1..)
                .zip(sizes)
                .map(|(byte, size)| vec![byte; size])
                .collect();
            let all = data.iter().map(|data| (data.as_slice(), Some(&address)));
            assert_eq!(send_many(there.as_raw_fd(), all).unwrap(), data.len());
            let mut buffer = Box::new_uninit_slice(MOST * SLOT_STRIDE);
            let (mut found, mut senders) = (Vec::new(), Vec::new());
            let mut each = |data: &[u8], name: &Name| {
                found.push(data.to_vec());
                senders.push(name.internet().unwrap());
            };
            assert_eq!(
                receive(here.as_raw_fd(), &mut buffer, 3, &mut each).unwrap(),
                3
            );
            assert_eq!(
                receive(here.as_raw_fd(), &mut buffer, 8, &mut each).unwrap(),
                2
            );
            let nothing = receive(here.as_raw_fd(), &mut buffer, 8, &mut each).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(found, data);
            assert_eq!(senders, vec![there.local_addr().unwrap(); data.len()]);
        }
    }

    #[test]
    fn only_the_first_error_is_told() {
        let (here, there) = (bound(), bound());
        let address = here.local_addr().unwrap();
        let (small, large) = (vec![1; 10], vec![2; 70_000]);
        let mixed = [(&small[..], Some(&address)), (&large[..], Some(&address))];
        assert_eq!(send_many(there.as_raw_fd(), mixed.into_iter()).unwrap(), 1);
        assert!(send_many(there.as_raw_fd(), mixed[1..].iter().copied()).is_err());
    }

    fn bound() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }
}
