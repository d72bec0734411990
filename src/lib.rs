//! yamanote: an asyncio event loop on tokio.
//!
//! Lower rooms come first; a room names only the rooms above it in this list.
//!
//! | room | what lives there |
//! | --- | --- |
//! | `sync` | atomics and locks of the standard library, which `models/` replaces |
//! | `sys` | system calls |
//! | `ffi` | raw CPython: classes, calls, contexts, buffers, who owns what; the OpenSSL behind its `ssl` |
//! | `errors` | the kernel's errors, in Python's words |
//! | `addr` | addresses, in Python's words |
//! | `driver` | tokio's runtime: descriptors, wakers, the timer |
//! | `scheduler` | what runs when: ready queue, timers, inbox, sources, the turn |
//! | `watchdog` | notices loops that stall |
//! | `transports` | descriptors below, protocols above |
//! | `sock` | `loop.sock_*`: calls on the sockets of a program |
//! | `interop` | Rust futures, of extensions and for names: awaitables, the C interface |
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
mod sock;
mod sync;
#[expect(unsafe_code, reason = "the one home of system calls")]
mod sys;
mod transports;
mod watchdog;

use std::future::Future;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// Creates an awaitable for a future that shares the loop's own tokio runtime: its timers and sockets use the loop's
/// reactor, and no other thread is involved.
///
/// For programs that embed Python, and link this crate, and thus one copy of tokio, into the library or executable
/// that also contains the loop. Other extension modules use the crate `yamanote-client`.
///
/// # Errors
///
/// Returns `RuntimeError` if no yamanote loop runs on this thread.
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
/// Returns any exception raised while it imports the parts of asyncio that its classes extend.
#[pymodule(gil_used = false)]
pub fn _yamanote(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // A program may remove the module from `sys.modules` and import it again. Its classes are created only once, so
    // existing handles and loops keep working with new ones.
    static CONTENTS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let py = module.py();
    ffi::refuse_other_interpreters(py)?;
    yamanote_client::finalizing::hang_instead_of_unwinding();
    let contents = CONTENTS.get_or_try_init(py, || contents(py).map(Bound::unbind))?;
    module.dict().update(contents.bind(py).as_mapping())
}

/// The contents of the module.
fn contents(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let module = PyModule::new(py, "yamanote._yamanote")?;
    let given = module.dict().copy()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("_tokio_version", env!("TOKIO_VERSION"))?;
    ffi::names::make(py)?;
    event_loop::register(&module)?;
    interop::register(&module)?;
    transports::register(&module)?;
    sock::register(&module)?;
    let contents = module.dict().copy()?;
    // Each module object has its own name and origin.
    for name in given.keys() {
        contents.del_item(name)?;
    }
    Ok(contents)
}
