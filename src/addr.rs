//! Addresses as Python's socket module writes them.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// `(host, port)`, or `(host, port, flowinfo, scope_id)`.
pub(crate) fn to_python<'py>(py: Python<'py>, address: &SocketAddr) -> PyResult<Bound<'py, PyAny>> {
    Ok(match address {
        SocketAddr::V4(v4) => (v4.ip().to_string(), v4.port())
            .into_pyobject(py)?
            .into_any(),
        SocketAddr::V6(v6) => (v6.ip().to_string(), v6.port(), v6.flowinfo(), v6.scope_id())
            .into_pyobject(py)?
            .into_any(),
    })
}

/// A path as `str`, empty for an unnamed socket; an abstract name, with the zero byte in front, as `bytes`.
pub(crate) fn unix_to_python<'py>(py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if name.first() == Some(&0) {
        return Ok(PyBytes::new(py, name).into_any());
    }
    Ok(OsStr::from_bytes(name).into_pyobject(py)?.into_any())
}
