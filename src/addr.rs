//! Converts addresses to and from the form of Python's socket module.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};

use crate::ffi::make;

/// `(host, port)`, or `(host, port, flowinfo, scope_id)` for IPv6.
pub(crate) fn to_python<'py>(py: Python<'py>, address: &SocketAddr) -> PyResult<Bound<'py, PyAny>> {
    let number = |number: u32| make::int(py, number as usize);
    let port = number(address.port().into())?;
    let port = port.as_any().as_borrowed();
    let made = match address {
        SocketAddr::V4(v4) => {
            let host = make::string(py, &v4.ip().to_string())?;
            make::tuple(py, &[host.as_any().as_borrowed(), port])
        }
        SocketAddr::V6(v6) => {
            let host = make::string(py, &text(v6.ip()))?;
            let (flow, scope) = (number(v6.flowinfo())?, number(v6.scope_id())?);
            let (flow, scope) = (flow.as_any().as_borrowed(), scope.as_any().as_borrowed());
            make::tuple(py, &[host.as_any().as_borrowed(), port, flow, scope])
        }
    };
    made.map(Bound::into_any)
}

/// The path of an `AF_UNIX` address as `str`, or as `bytes` if it is abstract.
pub(crate) fn path_to_python<'py>(py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if path.first() == Some(&0) {
        return Ok(make::bytes(py, path)?.into_any());
    }
    let length = path.iter().position(|byte| *byte == 0);
    make::path(py, &path[..length.unwrap_or(path.len())]).map(Bound::into_any)
}

/// Parses a tuple for a socket of the family of `version`. Returns `None` if it needs a look-up or is invalid; the
/// caller then passes it to the socket itself.
pub(crate) fn from_python(address: &Bound<'_, PyAny>, version: Version) -> Option<SocketAddr> {
    let parts = address.cast_exact::<PyTuple>().ok()?.as_slice();
    let [host, port, rest @ ..] = parts else {
        return None;
    };
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?;
    let port: u16 = number(port)?.try_into().ok()?;
    match version {
        Version::V4 if rest.is_empty() => {
            let ip: Ipv4Addr = host.parse().ok()?;
            Some(SocketAddr::new(IpAddr::V4(ip), port))
        }
        Version::V6 if rest.len() <= 2 => {
            let ip: Ipv6Addr = host.parse().ok()?;
            let flow = rest.first().map_or(Some(0), number)?;
            let scope = rest.get(1).map_or(Some(0), number)?;
            (flow <= MAX_FLOW).then(|| SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => None,
    }
}

/// The version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

fn number(value: &Bound<'_, PyAny>) -> Option<u32> {
    value.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// Formats an address like `inet_ntop`: unlike Rust, it uses dots in the obsolete addresses that embed IPv4's.
fn text(ip: &Ipv6Addr) -> String {
    let segments = ip.segments();
    if segments[..6] == [0; 6] && segments[6] != 0 {
        let [.., a, b, c, d] = ip.octets();
        return format!("::{}", Ipv4Addr::new(a, b, c, d));
    }
    ip.to_string()
}

/// A flow label has 20 bits; Python's sockets reject more.
const MAX_FLOW: u32 = 0xf_ffff;
