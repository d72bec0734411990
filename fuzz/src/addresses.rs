//! `addresses`: tuples of Python's against the C library's way to read and write addresses.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::{IpAddr, SocketAddr};

use pyo3::object::Value;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};

use crate::addr::{self, Version};
use crate::input::Input;

// As POSIX has them; the crate `libc` has not.
unsafe extern "C" {
    fn inet_pton(family: c_int, text: *const c_char, octets: *mut c_void) -> c_int;
    fn inet_ntop(
        family: c_int,
        octets: *const c_void,
        text: *mut c_char,
        room: libc::socklen_t,
    ) -> *const c_char;
}

/// One part of a tuple.
enum Part {
    Number(i128),
    Text(String),
    Other,
}

pub(crate) fn fuzz(mut input: Input<'_>) {
    match input.byte() % 4 {
        0 | 1 => a_tuple(&mut input),
        2 => an_address(&mut input),
        _ => a_path(input.bytes(200)),
    }
}

fn a_tuple(input: &mut Input<'_>) {
    let py = Python::token();
    let (is_six, count) = (input.flag(), input.below(6));
    let mut parts: Vec<Part> = (1..count).map(|_| number(input)).collect();
    if count > 0 {
        parts.insert(0, host(input));
    }
    let version = if is_six { Version::V6 } else { Version::V4 };
    let objects = parts.iter().map(|part| {
        let value = match part {
            Part::Number(number) => Value::Int(*number),
            Part::Text(text) => Value::Str(text.clone()),
            Part::Other => Value::None,
        };
        Py::of(value).into_bound(Python::token())
    });
    let tuple: Py<PyAny> = Py::of(Value::Tuple(objects.collect()));
    let parsed = addr::from_python(tuple.bind(py), version);
    assert_eq!(parsed, expected(&parts, is_six));
    assert_eq!(
        addr::from_python(&Py::of(Value::None).into_bound(py), version),
        None
    );
    if let Some(address) = parsed {
        goes_back(&address);
    }
}

fn host(input: &mut Input<'_>) -> Part {
    match input.byte() % 8 {
        0 => Part::Other,
        1 => Part::Number(input.byte().into()),
        // A right one, into which the rest of the program may put something.
        2 | 3 => {
            let ip: IpAddr = match input.flag() {
                true => input.number::<16>().into(),
                false => input.number::<4>().into(),
            };
            let mut text = ip.to_string();
            let at = input.below(text.len() + 1);
            let more = input.bytes(3);
            text.insert_str(at, &String::from_utf8_lossy(more));
            Part::Text(text)
        }
        _ => {
            let size = usize::from(input.byte() / 5);
            Part::Text(String::from_utf8_lossy(input.bytes(size)).into_owned())
        }
    }
}

fn number(input: &mut Input<'_>) -> Part {
    match input.byte() % 8 {
        0 => Part::Other,
        1 => Part::Text("80".to_owned()),
        2 => Part::Number(i128::from(i64::from_le_bytes(input.number()))),
        3 => Part::Number(
            [
                -1,
                0x7fff,
                0xffff,
                0x1_0000,
                0xf_ffff,
                0x10_0000,
                0xffff_ffff,
                1 << 32,
            ][input.below(8)],
        ),
        4 => Part::Number(u32::from_le_bytes(input.number()).into()),
        _ => Part::Number(u16::from_le_bytes(input.number()).into()),
    }
}

/// `inet_pton`, and what Python's socket module says of the numbers.
fn expected(parts: &[Part], is_six: bool) -> Option<SocketAddr> {
    let [Part::Text(host), Part::Number(port), rest @ ..] = parts else {
        return None;
    };
    let host = CString::new(host.as_str()).ok()?;
    let family = if is_six {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let mut octets = [0_u8; 16];
    // SAFETY: a text, and room for either family.
    if unsafe { inet_pton(family, host.as_ptr(), octets.as_mut_ptr().cast::<c_void>()) } != 1 {
        return None;
    }
    let port = u16::try_from(*port).ok()?;
    let mut numbers = [0; 2];
    for (index, part) in rest.iter().enumerate() {
        let Part::Number(number) = part else {
            return None;
        };
        *numbers.get_mut(index)? = u32::try_from(*number).ok()?;
    }
    if !is_six {
        let [a, b, c, d, ..] = octets;
        return rest
            .is_empty()
            .then(|| SocketAddr::from(([a, b, c, d], port)));
    }
    let [flow, scope] = numbers;
    let address = std::net::SocketAddrV6::new(octets.into(), port, flow, scope);
    (flow < 1 << 20).then(|| address.into())
}

fn an_address(input: &mut Input<'_>) {
    let port = u16::from_le_bytes(input.number());
    if input.flag() {
        let mut octets: [u8; 16] = input.number();
        // Zeroes make the text short, and its ways many.
        let zeroes = u16::from_le_bytes(input.number());
        for (index, octet) in octets.iter_mut().enumerate() {
            *octet = if zeroes >> index & 1 == 1 { 0 } else { *octet };
        }
        let (flow, scope) = (
            u32::from_le_bytes(input.number()) >> 12,
            u32::from_le_bytes(input.number()),
        );
        goes_back(&std::net::SocketAddrV6::new(octets.into(), port, flow, scope).into());
    } else {
        goes_back(&SocketAddr::from((input.number::<4>(), port)));
    }
}

/// The tuple is the C library's text with the numbers, and is read as the same address.
fn goes_back(address: &SocketAddr) {
    let py = Python::token();
    let tuple = addr::to_python(py, address).expect("there is memory");
    let parts = tuple.cast_exact::<PyTuple>().expect("a tuple").as_slice();
    let text = parts[0]
        .cast_exact::<PyString>()
        .expect("a text")
        .to_str()
        .expect("a text");
    let numbers = parts[1..].iter().map(|part| {
        part.cast_exact::<PyInt>()
            .expect("a number")
            .extract::<u32>()
            .expect("small")
    });
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let mut room = [0; 64];
    // SAFETY: as many octets as the family has, and more room than any text needs.
    let written = unsafe { inet_ntop(family, octets.as_ptr().cast(), room.as_mut_ptr(), 64) };
    assert!(!written.is_null());
    // SAFETY: a text in `room`.
    let written = unsafe { CStr::from_ptr(written) };
    assert_eq!(Ok(text), written.to_str());
    let (expected, version) = match address {
        SocketAddr::V4(v4) => (vec![v4.port().into()], Version::V4),
        SocketAddr::V6(v6) => (
            vec![v6.port().into(), v6.flowinfo(), v6.scope_id()],
            Version::V6,
        ),
    };
    assert!(numbers.eq(expected));
    assert_eq!(addr::from_python(&tuple, version), Some(*address));
}

/// Abstract names stay bytes; others are texts up to the first zero.
fn a_path(path: &[u8]) {
    let made = addr::path_to_python(Python::token(), path).expect("there is memory");
    if let Ok(bytes) = made.cast_exact::<PyBytes>() {
        assert!(path.starts_with(b"\0"));
        assert_eq!(bytes.as_bytes(), path);
    } else {
        let text = made
            .cast_exact::<PyString>()
            .expect("a text")
            .to_str()
            .expect("a text");
        let mut before: Vec<u8> = path.to_vec();
        before.push(0);
        let before = CStr::from_bytes_until_nul(&before).expect("there is a zero");
        assert_eq!(text, before.to_string_lossy());
        assert!(!path.starts_with(b"\0"));
    }
}
