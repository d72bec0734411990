//! An HTTP client and a Redis client, written with two crates, for Python coroutines.
//!
//! Nothing here knows which event loop will await it.

mod http;
mod redis;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod rust_extension {
    #[pymodule_export]
    use super::http::{Client, Response};
    #[pymodule_export]
    use super::redis::Redis;
}
