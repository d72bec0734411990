//! yamanote: an asyncio event loop on tokio.
//!
//! Lower rooms first; a room names only the rooms above it in this list.
//!
//! | room | what lives there |
//! | --- | --- |
//! | `sys` | system calls |
//! | `ffi` | raw CPython: classes, calls, contexts, buffers, who owns what |
//! | `errors` | the kernel's errors, in Python's words |
//! | `addr` | addresses, in Python's words |
//! | `driver` | tokio's runtime: descriptors, wakers, the timer |
//! | `scheduler` | what runs when: ready queue, timers, inbox, sources, the turn |
//! | `transports` | descriptors below, protocols above |
//! | `interop` | Rust futures of extensions: awaitables, the C interface |
//! | `event_loop` | what Python calls on a loop |

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

use pyo3::prelude::*;

/// The native module, `yamanote._yamanote`.
#[pymodule(gil_used = false)]
fn _yamanote(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    event_loop::register(module)?;
    interop::register(module)?;
    transports::register(module)
}
