//! The descriptor that Python's C signal handler writes to.

use std::os::fd::RawFd;

use pyo3::Python;
use pyo3::prelude::*;

#[cfg(Py_3_13)]
unsafe extern "C" {
    /// pyo3's `ffi` does not declare it, and before 3.13 the interpreter does not export it.
    fn PySignal_SetWakeupFd(fd: std::ffi::c_int) -> std::ffi::c_int;
}

/// Whether [`set_wakeup_fd`] is cheap enough to call for each wait; before 3.13 it queries the kernel about the
/// descriptor.
pub(crate) const IS_CHEAP: bool = cfg!(Py_3_13);

/// Does what `signal.set_wakeup_fd()` does: signal numbers are written to `fd`, -1 for none. Returns the previous
/// descriptor. Only for the main thread.
#[cfg(Py_3_13)]
#[expect(clippy::unnecessary_wraps, reason = "before 3.13 it may fail")]
pub(crate) fn set_wakeup_fd(_py: Python<'_>, fd: RawFd) -> PyResult<RawFd> {
    // SAFETY: the thread is attached. The call exchanges one number and cannot fail; with an invalid descriptor, the
    // handler's write fails.
    Ok(unsafe { PySignal_SetWakeupFd(fd) })
}

/// Does what `signal.set_wakeup_fd()` does: signal numbers are written to `fd`, -1 for none. Returns the previous
/// descriptor. Only for the main thread.
#[cfg(not(Py_3_13))]
pub(crate) fn set_wakeup_fd(py: Python<'_>, fd: RawFd) -> PyResult<RawFd> {
    use super::{make, name};
    use pyo3::sync::PyOnceLock;

    static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // With checks, as memory may be short.
    let keywords = make::dict(py)?;
    let never = make::boolean(py, false);
    keywords.set_item(name!(py, "warn_on_full_buffer"), never)?;
    make::imported(&SET, py, "signal", "set_wakeup_fd")?
        .call((make::signed(py, fd)?,), Some(&keywords))?
        .extract()
}
