//! Datagrams: received and sent one by one, or many in one call.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::socket::Name;
use super::syscall;

/// One datagram into the front of `buffer`; what does not fit is lost.
pub(crate) fn receive(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<(&mut [u8], Name)> {
    let mut name = Name::empty();
    let received = syscall!(recvfrom(
        fd,
        buffer.as_mut_ptr().cast(),
        buffer.len(),
        libc::MSG_DONTWAIT,
        (&raw mut name.storage).cast(),
        &raw mut name.length
    ))?;
    // SAFETY: the kernel has just written that many bytes there, and the borrow of `buffer` goes on.
    let data = unsafe { filled(buffer, received.cast_unsigned()) };
    Ok((data, name))
}

/// Internet datagrams that wait, up to `most` and [`MOST`] of them, each handed to `each`.
///
/// Answers how many there were: fewer than `most` means that no more wait, or that an error is to be
/// told by the next call. `buffer` holds [`SLOT_STRIDE`] bytes for each.
pub(crate) fn receive_many(
    fd: RawFd,
    buffer: &mut [MaybeUninit<u8>],
    most: usize,
    each: impl FnMut(&[u8], &Name),
) -> io::Result<usize> {
    if most > 1 && HAS_MANY.load(Ordering::Relaxed) {
        receive_in_one_call(fd, buffer, most, each)
    } else {
        receive_one_by_one(fd, buffer, most, each)
    }
}

fn receive_in_one_call(
    fd: RawFd,
    buffer: &mut [MaybeUninit<u8>],
    most: usize,
    mut each: impl FnMut(&[u8], &Name),
) -> io::Result<usize> {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; MOST];
    let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; MOST];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MOST];
    let mut count = 0;
    let places = buffer.chunks_exact_mut(SLOT_STRIDE).take(most);
    for (index, (place, message)) in places.zip(&mut messages).enumerate() {
        let name = names[index].write(Name::empty());
        let slice = slices[index].write(libc::iovec {
            iov_base: place.as_mut_ptr().cast(),
            iov_len: SLOT,
        });
        message.write(described(Some(name), slice));
        count += 1;
    }
    let result = syscall!(recvmmsg(
        fd,
        messages.as_mut_ptr().cast(),
        c_uint(count),
        libc::MSG_DONTWAIT as _,
        std::ptr::null_mut()
    ));
    let received = match result {
        Ok(received) => received.cast_unsigned() as usize,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            HAS_MANY.store(false, Ordering::Relaxed);
            return receive_one_by_one(fd, buffer, most, each);
        }
        Err(error) => return Err(error),
    };
    let places = buffer.chunks_exact_mut(SLOT_STRIDE).take(received);
    for (place, (message, name)) in places.zip(messages.iter().zip(&mut names)) {
        // SAFETY: written above, for each of the first `count`, and `received` is no more.
        let message = unsafe { message.assume_init_ref() };
        // SAFETY: as above.
        let name = unsafe { name.assume_init_mut() };
        name.length = message.msg_hdr.msg_namelen;
        // SAFETY: the kernel has just written that many bytes there.
        each(unsafe { filled(place, message.msg_len as usize) }, name);
    }
    Ok(received)
}

/// The same where the kernel has no such call.
fn receive_one_by_one(
    fd: RawFd,
    buffer: &mut [MaybeUninit<u8>],
    most: usize,
    mut each: impl FnMut(&[u8], &Name),
) -> io::Result<usize> {
    for count in 0..most {
        match receive(fd, &mut buffer[..SLOT]) {
            Ok((data, name)) => each(data, &name),
            Err(error) if count == 0 => return Err(error),
            // Ignored: it is `WouldBlock`, or an error that comes again if it lasts.
            Err(_) => return Ok(count),
        }
    }
    Ok(most)
}

/// Sends one datagram, to `address` or where the socket is connected to.
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

/// Sends datagrams in order, up to [`MOST`] of them; answers how many the kernel took.
///
/// An error is the first one's; those of later ones come when they are first.
pub(crate) fn send_many<'a>(
    fd: RawFd,
    datagrams: impl Iterator<Item = (&'a [u8], Option<&'a SocketAddr>)>,
) -> io::Result<usize> {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; MOST];
    let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; MOST];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MOST];
    let mut count = 0;
    let mut first = None;
    for ((data, address), message) in datagrams.zip(&mut messages) {
        let name = address.map(|address| names[count].write(Name::from(address)));
        let slice = slices[count].write(libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        });
        message.write(described(name, slice));
        first = first.or(Some((data, address)));
        count += 1;
    }
    let Some((data, address)) = first else {
        return Ok(0);
    };
    if count == 1 || !HAS_MANY.load(Ordering::Relaxed) {
        return send(fd, data, address).map(|()| 1);
    }
    let result = syscall!(sendmmsg(
        fd,
        messages.as_mut_ptr().cast(),
        c_uint(count),
        libc::MSG_NOSIGNAL as _
    ));
    match result {
        Ok(sent) => Ok(sent.cast_unsigned() as usize),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            HAS_MANY.store(false, Ordering::Relaxed);
            send(fd, data, address).map(|()| 1)
        }
        Err(error) => Err(error),
    }
}

fn described(name: Option<&mut Name>, slice: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeroes is a valid `mmsghdr`: no name, no data, no control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    if let Some(name) = name {
        message.msg_hdr.msg_name = (&raw mut name.storage).cast();
        message.msg_hdr.msg_namelen = name.length;
    }
    message.msg_hdr.msg_iov = slice;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// # Safety
///
/// The first `length` bytes of `buffer` are initialised.
unsafe fn filled(buffer: &mut [MaybeUninit<u8>], length: usize) -> &mut [u8] {
    let filled = &mut buffer[..length];
    // SAFETY: the caller's; the layouts are the same.
    unsafe { &mut *(std::ptr::from_mut(filled) as *mut [u8]) }
}

/// At most [`MOST`].
fn c_uint(count: usize) -> libc::c_uint {
    libc::c_uint::try_from(count).unwrap_or(libc::c_uint::MAX)
}

/// Datagrams of one call. Cheap enough beyond 16 that more would only make others wait.
pub(crate) const MOST: usize = 16;
/// No UDP datagram is larger: its length has 16 bits.
const SLOT: usize = 64 * 1024;
/// From one slot to the next: at a distance of 64 KiB they would all use the same few lines of the cache.
pub(crate) const SLOT_STRIDE: usize = SLOT + 17 * 64;

/// Cleared by the first call that finds them missing, as in some sandboxes. Relaxed: a hint.
static HAS_MANY: AtomicBool = AtomicBool::new(true);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    type Receive =
        fn(RawFd, &mut [MaybeUninit<u8>], usize, &mut dyn FnMut(&[u8], &Name)) -> io::Result<usize>;

    const WAYS: [Receive; 2] = [
        |fd, buffer, most, each| receive_in_one_call(fd, buffer, most, each),
        |fd, buffer, most, each| receive_one_by_one(fd, buffer, most, each),
    ];

    #[test]
    fn many_arrive_whole_and_in_order_either_way() {
        for receive in WAYS {
            let (here, there) = (bound(), bound());
            let address = here.local_addr().unwrap();
            let sizes = [0, 1, 1472, 60_000, 2];
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
