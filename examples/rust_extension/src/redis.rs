//! redis-rs, for Python.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use redis::aio::MultiplexedConnection;

/// One connection, shared by the commands of all its users.
#[pyclass(frozen)]
pub(crate) struct Redis(MultiplexedConnection);

#[pymethods]
impl Redis {
    /// Connect to `redis://host:port`. Awaited, it returns a `Redis`.
    #[staticmethod]
    fn connect(py: Python<'_>, url: String) -> PyResult<Bound<'_, PyAny>> {
        yamanote::future_into_py(py, async move {
            let client = redis::Client::open(url).map_err(raised)?;
            let connection = client.get_multiplexed_async_connection().await;
            connection.map(Redis).map_err(raised)
        })
    }

    /// Set a key.
    fn set<'py>(
        &self,
        py: Python<'py>,
        key: String,
        value: Vec<u8>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.ask::<()>(py, redis::cmd("SET").arg(key).arg(value))
    }

    /// Get the value of a key. Awaited, it returns `bytes`, or `None` if there is no such key.
    fn get<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        self.ask::<Option<Vec<u8>>>(py, redis::cmd("GET").arg(key))
    }

    /// Increment the number at a key. Awaited, it returns the new value.
    fn incr<'py>(&self, py: Python<'py>, key: String) -> PyResult<Bound<'py, PyAny>> {
        self.ask::<i64>(py, redis::cmd("INCR").arg(key))
    }
}

impl Redis {
    fn ask<'py, T>(&self, py: Python<'py>, command: &redis::Cmd) -> PyResult<Bound<'py, PyAny>>
    where
        T: redis::FromRedisValue + for<'a> IntoPyObject<'a> + Send + 'static,
    {
        let (command, mut connection) = (command.clone(), self.0.clone());
        yamanote::future_into_py(py, async move {
            command
                .query_async::<T>(&mut connection)
                .await
                .map_err(raised)
        })
    }
}

fn raised(error: redis::RedisError) -> PyErr {
    PyConnectionError::new_err(error.to_string())
}
