//! `names`: addresses as the kernel and the resolver write them, against a reading byte by byte.

use std::ffi::CString;
use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::names::{self, Failure, Hints, Question};
use super::socket::Name;
use crate::input::Input;

pub(crate) fn fuzz(mut input: Input<'_>) {
    match input.byte() % 4 {
        0 => raw(&mut input),
        1 => address(&mut input),
        2 => path(input.bytes(120)),
        _ => question(&mut input),
    }
}

/// Any bytes, of any length that the kernel may say.
fn raw(input: &mut Input<'_>) {
    let length = input.below(size_of::<libc::sockaddr_storage>() + 1);
    let family = match input.byte() % 8 {
        0 => i32::from(input.byte()),
        1 | 2 => libc::AF_INET,
        3 | 4 => libc::AF_INET6,
        _ => libc::AF_UNIX,
    };
    let written = input.bytes(length);
    let mut name = Name::empty();
    let storage = (&raw mut name.storage).cast::<u8>();
    // SAFETY: there is room for 128 bytes, and any bytes are a `sockaddr_storage`.
    unsafe { storage.copy_from_nonoverlapping(written.as_ptr(), written.len()) };
    if length > 0 {
        name.storage.ss_family = libc::sa_family_t::try_from(family).expect("a small number");
    }
    name.length = libc::socklen_t::try_from(length).expect("a small number");
    // SAFETY: all of it is initialised.
    let bytes: [u8; 128] = unsafe { storage.cast::<[u8; 128]>().read() };
    let family = if length > 0 { family } else { libc::AF_UNSPEC };
    assert_eq!(name.internet(), internet(family, length, &bytes));
    assert_eq!(name.unix(), unix(family, length, &bytes));
}

/// RFC 3493's layout: family, port, and then the address, or a flow label, the address and its scope.
fn internet(family: i32, length: usize, bytes: &[u8; 128]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let four = |at: usize| -> [u8; 4] { std::array::from_fn(|index| bytes[at + index]) };
    if family == libc::AF_INET && length >= 16 {
        return Some((Ipv4Addr::from(four(4)), port).into());
    }
    if family == libc::AF_INET6 && length >= 28 {
        let ip: [u8; 16] = std::array::from_fn(|index| bytes[8 + index]);
        let (flow, scope) = (u32::from_be_bytes(four(4)), u32::from_ne_bytes(four(24)));
        return Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into());
    }
    None
}

fn unix(family: i32, length: usize, bytes: &[u8; 128]) -> Option<&[u8]> {
    let start = offset_of!(libc::sockaddr_un, sun_path);
    if family != libc::AF_UNIX || length == 0 {
        return None;
    }
    let written = &bytes[..length.min(size_of::<libc::sockaddr_un>())];
    let path = written.get(start..).unwrap_or(&[]);
    let is_whole = cfg!(target_os = "linux");
    let end = path
        .iter()
        .position(|byte| *byte == 0)
        .filter(|_| !is_whole);
    Some(&path[..end.unwrap_or(path.len())])
}

fn some_address(input: &mut Input<'_>) -> SocketAddr {
    let port = u16::from_le_bytes(input.number());
    if input.flag() {
        let ip: [u8; 16] = input.number();
        let (flow, scope) = (
            u32::from_le_bytes(input.number()),
            u32::from_le_bytes(input.number()),
        );
        SocketAddrV6::new(ip.into(), port, flow, scope).into()
    } else {
        (input.number::<4>(), port).into()
    }
}

fn address(input: &mut Input<'_>) {
    let address = some_address(input);
    let name = Name::from(&address);
    assert_eq!(name.internet(), Some(address));
    assert_eq!(name.unix(), None);
}

fn path(path: &[u8]) {
    let longest = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path) - 1;
    let is_path = (1..=longest).contains(&path.len()) && !path.contains(&0);
    let name = Name::of_path(path);
    assert_eq!(name.is_some(), is_path);
    if let Some(name) = name {
        assert_eq!(name.internet(), None);
        let seen = name.unix().expect("a path");
        assert_eq!(seen.strip_suffix(b"\0").unwrap_or(seen), path);
    }
}

/// An address needs no look-up: the resolver's list must say the same as the standard library.
fn question(input: &mut Input<'_>) {
    let address = some_address(input);
    let (host, port) = (address.ip().to_string(), address.port());
    let hints = Hints {
        family: [0, libc::AF_INET, libc::AF_INET6][input.below(3)],
        kind: [0, libc::SOCK_STREAM, libc::SOCK_DGRAM][input.below(3)],
        protocol: 0,
        flags: libc::AI_NUMERICHOST | libc::AI_NUMERICSERV,
    };
    assert!(!hints.are_plain());
    let question = Question {
        host: CString::new(host).expect("no zero"),
        port: CString::new(port.to_string()).expect("no zero"),
        hints,
    };
    // The C library takes the mapped form of an IPv4 address for that address, if one is asked for.
    let ip = if hints.family == libc::AF_INET {
        address.ip().to_canonical()
    } else {
        address.ip()
    };
    let own = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    match names::addresses(&question) {
        Ok(entries) => {
            assert!(hints.family == 0 || hints.family == own);
            assert!(hints.kind == 0 || entries.len() == 1);
            for entry in &entries {
                assert_eq!((entry.address.ip(), entry.address.port()), (ip, port));
                assert!(hints.kind == 0 || entry.kind == hints.kind);
            }
        }
        Err(Failure::Resolver(_, text)) => assert!(hints.family != own && !text.is_empty()),
        Err(failure) => panic!("{failure:?}"),
    }
}
