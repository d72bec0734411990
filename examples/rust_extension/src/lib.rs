//! An HTTP client and a Redis client for Python coroutines, based on two Rust crates.
//!
//! The code does not depend on the event loop that awaits it.

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
