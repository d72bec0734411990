//! Rust futures of extensions, which the loop itself runs.
//!
//! An extension passes an object to poll through the capsule `loop.__yamanote_c_api__` (`service`) and gets an
//! [`awaitable`]. The task that awaits it polls it; while it is pending, the task waits on a [`waiter`], and a wake
//! makes the turn poll it again ([`pending`]).
//!
//! One future is the loop's own: a name's addresses ([`look_up`]), from a thread of the [`resolver`].

mod awaitable;
mod look_up;
mod pending;
mod resolver;
mod service;
mod waiter;

use pyo3::prelude::*;

use crate::ffi::{capsule, class_of, pollable};
use crate::scheduler::Core;
use awaitable::Awaitable;
use look_up::PyResolver;
use service::Extensions;
use waiter::Waiter;

/// Adds the classes and the capsule of this room to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    class_of::<Awaitable>(py)?;
    class_of::<Waiter>(py)?;
    module.add_class::<PyResolver>()?;
    let table = capsule::new::<Extensions>(py)?;
    py.get_type::<Core>()
        .setattr(yamanote_client::abi::ATTRIBUTE, table)?;
    module.add_function(wrap_pyfunction!(live_futures, module)?)
}

/// The number of extensions' Rust futures that have not been dropped.
#[pyfunction]
#[pyo3(name = "_live_futures")]
fn live_futures() -> usize {
    pollable::live()
}
