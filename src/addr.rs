//! Addresses as Python's socket module writes them.

use std::net::SocketAddr;

use pyo3::prelude::*;

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
