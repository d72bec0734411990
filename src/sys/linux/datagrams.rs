//! Many datagrams in one call: `recvmmsg()` and `sendmmsg()`.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::buffer::ReadBuffer;
use crate::sys::call::{is_denied, syscall};
use crate::sys::datagram::{MOST, SLOT, SLOT_STRIDE, receive_one_by_one, send};
use crate::sys::socket::Name;

/// Receives waiting internet datagrams, at most `most` and [`MOST`], and calls `each` with each of them.
///
/// Returns their number. Fewer than `most` means that the queue is empty, or that the next call will return an error.
/// `buffer` holds [`SLOT_STRIDE`] bytes per datagram.
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
        Err(error) if is_denied(&error) => {
            let received = receive_one_by_one(fd, buffer, most, each);
            note_denied(&received);
            return received;
        }
        Err(error) => return Err(error),
    };
    let places = buffer.chunks_exact_mut(SLOT_STRIDE).take(received);
    for (place, (message, name)) in places.zip(messages.iter().zip(&mut names)) {
        // SAFETY: the first `count` are initialised above, and `received` is at most `count`.
        let message = unsafe { message.assume_init_ref() };
        // SAFETY: as above.
        let name = unsafe { name.assume_init_mut() };
        name.length = message.msg_hdr.msg_namelen;
        let mut data = ReadBuffer::new(place);
        // SAFETY: the kernel wrote `msg_len` bytes there, and was given no more room than the slot has.
        unsafe { data.advance(message.msg_len as usize) };
        each(data.filled(), name);
    }
    Ok(received)
}

/// Sends datagrams in order, at most [`MOST`], and returns how many the kernel accepted.
///
/// Returns an error only for the first one; a later one fails when it is the first of its call.
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
        Err(error) if is_denied(&error) => {
            let sent = send(fd, data, address).map(|()| 1);
            note_denied(&sent);
            sent
        }
        Err(error) => Err(error),
    }
}

/// Stops using the batch call if it was denied where the call for one datagram was not.
fn note_denied(outcome: &io::Result<usize>) {
    if !outcome.as_ref().is_err_and(is_denied) {
        HAS_MANY.store(false, Ordering::Relaxed);
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

/// Converts a count of at most [`MOST`].
fn c_uint(count: usize) -> libc::c_uint {
    libc::c_uint::try_from(count).unwrap_or(libc::c_uint::MAX)
}

/// Cleared by the first call that finds either missing, as in some sandboxes. Relaxed: it is only a hint.
static HAS_MANY: AtomicBool = AtomicBool::new(true);
