//! Looking up the addresses of a name, in the C library.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// The arguments of `getaddrinfo()`.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) host: CString,
    pub(crate) port: CString,
    pub(crate) hints: Hints,
}

/// What a caller wants of the addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints {
    pub(crate) family: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
    pub(crate) flags: i32,
}

/// One address, and the socket that it is for.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) address: SocketAddr,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
}

/// Why there are no addresses.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A number of `getaddrinfo()`'s own, and the C library's text for it.
    Resolver(i32, String),
    System(io::Error),
    /// An address of a family that [`Entry`] does not hold.
    Unknown,
}

impl Hints {
    /// Whether the answer has addresses only: no canonical name, and nothing of a system's own.
    pub(crate) fn are_plain(self) -> bool {
        matches!(self.flags, 0 | libc::AI_ADDRCONFIG)
    }
}

/// Returns the addresses in the C library's order. Blocks until its resolver has answered.
pub(crate) fn addresses(question: &Question) -> Result<Vec<Entry>, Failure> {
    // SAFETY: all zeroes is a valid `addrinfo`, without an address, a name or a successor.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = question.hints.family;
    hints.ai_socktype = question.hints.kind;
    hints.ai_protocol = question.hints.protocol;
    hints.ai_flags = question.hints.flags;
    let mut found = Found(ptr::null_mut());
    let (host, port) = (question.host.as_ptr(), question.port.as_ptr());
    // SAFETY: both texts end with a zero and live for the call, as do the hints; `found` is writable.
    let code = unsafe { libc::getaddrinfo(host, port, &raw const hints, &raw mut found.0) };
    match code {
        0 => entries(&found),
        libc::EAI_SYSTEM => Err(Failure::System(io::Error::last_os_error())),
        _ => Err(Failure::Resolver(code, text(code))),
    }
}

/// The C library's list, freed at the end.
struct Found(*mut libc::addrinfo);

impl Drop for Found {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the list that `getaddrinfo` returned, which nothing else frees or keeps.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

fn entries(found: &Found) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    let mut next = found.0;
    // SAFETY: null, or an entry of the list, which `found` keeps alive.
    while let Some(entry) = unsafe { next.as_ref() } {
        let address = address(entry).ok_or(Failure::Unknown)?;
        if entries.try_reserve(1).is_err() {
            return Err(Failure::Resolver(libc::EAI_MEMORY, text(libc::EAI_MEMORY)));
        }
        entries.push(Entry {
            address,
            kind: entry.ai_socktype,
            protocol: entry.ai_protocol,
        });
        next = entry.ai_next;
    }
    Ok(entries)
}

fn address(entry: &libc::addrinfo) -> Option<SocketAddr> {
    let length = entry.ai_addrlen as usize;
    if entry.ai_addr.is_null() {
        return None;
    }
    match entry.ai_family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the address is as long as this structure, which its family says it is; it may be unaligned.
            let name = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let name = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let (port, flow) = (
                u16::from_be(name.sin6_port),
                u32::from_be(name.sin6_flowinfo),
            );
            Some(SocketAddrV6::new(ip, port, flow, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The C library's text for a number of `getaddrinfo()`'s.
fn text(code: i32) -> String {
    // SAFETY: any number will do.
    let text = unsafe { libc::gai_strerror(code) };
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a text that ends with a zero and is never freed.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// `SOCK_STREAM`, `SOCK_DGRAM` and `SOCK_RAW`.
pub(crate) const INTERNET_KINDS: [i32; 3] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW];

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(host: &str, flags: i32) -> Result<Vec<Entry>, Failure> {
        addresses(&Question {
            host: CString::new(host).unwrap(),
            port: c"80".to_owned(),
            hints: Hints {
                family: 0,
                kind: libc::SOCK_STREAM,
                protocol: 0,
                flags,
            },
        })
    }

    #[test]
    fn an_address_is_its_own() {
        for (host, expected) in [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")] {
            let entries = ask(host, libc::AI_NUMERICHOST).unwrap();
            assert_eq!(entries.len(), 1);
            assert_eq!(entries[0].address, expected.parse().unwrap());
            assert_eq!(entries[0].kind, libc::SOCK_STREAM);
            assert_eq!(entries[0].protocol, libc::IPPROTO_TCP);
        }
    }

    #[test]
    fn what_is_no_address_has_a_reason() {
        let Err(Failure::Resolver(code, text)) = ask("no.address", libc::AI_NUMERICHOST) else {
            panic!("a name is no address");
        };
        assert_eq!(code, libc::EAI_NONAME);
        assert!(!text.is_empty());
    }
}
