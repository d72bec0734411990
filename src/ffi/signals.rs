//! Where Python's C signal handler leaves word of a signal.

use std::os::fd::RawFd;

use pyo3::Python;
use pyo3::prelude::*;

#[cfg(Py_3_13)]
unsafe extern "C" {
    /// pyo3's `ffi` leaves it out, and before 3.13 the interpreter keeps it to itself.
    fn PySignal_SetWakeupFd(fd: std::ffi::c_int) -> std::ffi::c_int;
}

/// Whether [`set_wakeup_fd`] is cheap enough for each wait: else it asks the kernel about the descriptor.
pub(crate) const IS_CHEAP: bool = cfg!(Py_3_13);

/// What `signal.set_wakeup_fd()` does: the number of each signal goes to `fd`, -1 for none. Returns what was there. For
/// the main thread, whose it is.
#[cfg(Py_3_13)]
#[expect(clippy::unnecessary_wraps, reason = "before 3.13 it may fail")]
pub(crate) fn set_wakeup_fd(_py: Python<'_>, fd: RawFd) -> PyResult<RawFd> {
    // SAFETY: the thread is attached. The call exchanges one number and has no failure; a descriptor that is none makes
    // the handler's write fail.
    Ok(unsafe { PySignal_SetWakeupFd(fd) })
}

/// What `signal.set_wakeup_fd()` does: the number of each signal goes to `fd`, -1 for none. Returns what was there. For
/// the main thread, whose it is.
#[cfg(not(Py_3_13))]
pub(crate) fn set_wakeup_fd(py: Python<'_>, fd: RawFd) -> PyResult<RawFd> {
    use pyo3::sync::PyOnceLock;
    use pyo3::types::PyDict;

    static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let keywords = PyDict::new(py);
    keywords.set_item("warn_on_full_buffer", false)?;
    SET.import(py, "signal", "set_wakeup_fd")?
        .call((fd,), Some(&keywords))?
        .extract()
}
