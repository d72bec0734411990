//! The functions below `YAMANOTE_DUMP_SIGNAL`: a signal wakes a thread.

use pyo3::prelude::*;

use crate::errors::os_error;
use crate::scheduler::seconds;
use crate::sys::bell;
use crate::sys::clock::monotonic_ns;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(listen_for_signal, module)?)?;
    module.add_function(wrap_pyfunction!(listen_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(wait_for_signal, module)?)
}

/// Let the signal end `_wait_for_signal()`.
#[pyfunction]
#[pyo3(name = "_listen_for_signal", signature = (number, /))]
fn listen_for_signal(number: i32) -> PyResult<()> {
    bell::listen(number).map_err(os_error)
}

/// In a forked child, before its thread waits: forget the signals of the parent.
#[pyfunction]
#[pyo3(name = "_listen_in_child")]
fn listen_in_child() -> PyResult<()> {
    bell::make().map_err(os_error)
}

/// Wait for the signal, detached; return how many seconds it then took to be attached.
#[pyfunction]
#[pyo3(name = "_wait_for_signal")]
fn wait_for_signal(py: Python<'_>) -> f64 {
    let woken = py.detach(|| {
        bell::wait();
        monotonic_ns()
    });
    seconds(monotonic_ns().saturating_sub(woken))
}
