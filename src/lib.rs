//! yamanote: an asyncio event loop on tokio.
//!
//! Lower rooms first; a room names only the rooms above it in this list.
//!
//! | room | what lives there |
//! | --- | --- |
//! | `sys` | system calls |
//! | `ffi` | raw CPython: classes, calls, contexts, buffers, who owns what; the OpenSSL behind its `ssl` |
//! | `errors` | the kernel's errors, in Python's words |
//! | `addr` | addresses, in Python's words |
//! | `driver` | tokio's runtime: descriptors, wakers, the timer |
//! | `scheduler` | what runs when: ready queue, timers, inbox, sources, the turn |
//! | `transports` | descriptors below, protocols above |
//! | `interop` | Rust futures of extensions: awaitables, the C interface |
//! | `event_loop` | what Python calls on a loop |
//!
//! From Rust, only programs that embed Python and the loop use this crate ([`future_into_py`]).

mod addr;
#[expect(unsafe_code, reason = "registrations and wakers")]
mod driver;
mod errors;
mod event_loop;
#[expect(unsafe_code, reason = "the one home of raw CPython calls")]
mod ffi;
mod interop;
mod scheduler;
#[expect(unsafe_code, reason = "the one home of system calls")]
mod sys;
mod transports;

use std::future::Future;

use pyo3::prelude::*;

/// An awaitable for a future that shares the loop's own tokio runtime: its timers and sockets are on the loop's
/// reactor, and no other thread is involved.
///
/// For programs that link this crate, and with it one copy of tokio, into the library or executable
/// that also has the loop: those that embed Python. Other extension modules use the crate `yamanote-client`.
///
/// # Errors
///
/// `RuntimeError` when no loop of yamanote's runs on this thread.
pub fn future_into_py<F, T>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = PyResult<T>> + 'static,
    T: for<'py> IntoPyObject<'py> + 'static,
{
    yamanote_client::linked_future_into_py(py, future)
}

/// The native module, `yamanote._yamanote`.
///
/// # Errors
///
/// What importing the parts of asyncio raises that its classes extend.
#[pymodule(gil_used = false)]
pub fn _yamanote(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    ffi::names::make(module.py())?;
    event_loop::register(module)?;
    interop::register(module)?;
    transports::register(module)
}
