//! reqwest, for Python.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// An HTTP client that reuses its connections: create one, and use it for all requests.
#[pyclass(frozen)]
pub(crate) struct Client(reqwest::Client);

#[pyclass(frozen, get_all)]
pub(crate) struct Response {
    status: u16,
    body: Py<PyBytes>,
}

#[pymethods]
impl Client {
    #[new]
    fn new() -> Self {
        Self(reqwest::Client::new())
    }

    /// Fetch `url`. Awaited, it returns a `Response`.
    fn get<'py>(&self, py: Python<'py>, url: String) -> PyResult<Bound<'py, PyAny>> {
        self.send(py, self.0.get(url))
    }

    /// Send `body` to `url`. Awaited, it returns a `Response`.
    fn post<'py>(
        &self,
        py: Python<'py>,
        url: String,
        body: Vec<u8>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.send(py, self.0.post(url).body(body))
    }
}

impl Client {
    fn send<'py>(
        &self,
        py: Python<'py>,
        request: reqwest::RequestBuilder,
    ) -> PyResult<Bound<'py, PyAny>> {
        yamanote::future_into_py(py, async move {
            let response = request.send().await.map_err(raised)?;
            let status = response.status().as_u16();
            let body = response.bytes().await.map_err(raised)?;
            // On yamanote this runs on the loop's thread, which already holds the GIL.
            Python::attach(|py| {
                let body = PyBytes::new(py, &body).unbind();
                Ok(Response { status, body })
            })
        })
    }
}

fn raised(error: reqwest::Error) -> PyErr {
    PyConnectionError::new_err(error.to_string())
}
