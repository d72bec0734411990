//! Queries of the loop's state, which asyncio's futures and tasks make all the time.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::{add_fast_method, light_method, make, method};
use crate::scheduler::{Core, seconds};
use crate::sys::clock::monotonic_ns;

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<GetDebug>(class)?;
    add_fast_method::<IsRunning>(class)?;
    add_fast_method::<RunningThread>(class)?;
    add_fast_method::<IsClosed>(class)
}

/// Adds `time()`, in one class only: any other method of that name is a clock of the program's own.
pub(super) fn add_clock(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<Time>(class)
}

type This = Core;

light_method!(
    Time,
    "time",
    "Seconds on the clock of `time.monotonic()`.",
    |this| Ok(make::float(this.py(), seconds(monotonic_ns()))?.into_any())
);

light_method!(GetDebug, "get_debug", "Whether debug mode is on.", |this| {
    Ok(make::boolean(this.py(), this.get().is_debug()))
});

light_method!(
    IsRunning,
    "is_running",
    "Whether a thread is inside `run_forever()`.",
    |this| Ok(make::boolean(this.py(), this.get().is_running()))
);

light_method!(
    IsClosed,
    "is_closed",
    "Whether `close()` was called.",
    |this| Ok(make::boolean(this.py(), this.get().is_closed()))
);

method!(
    RunningThread,
    "_running_thread",
    "The thread that runs the loop, as `threading.get_ident()` and `threading.get_native_id()`, or `None`.",
    |this| {
        let thread = this.get().shared.meters.phases.running_thread();
        thread
            .map(|thread| (thread.ident, thread.native_id))
            .into_bound_py_any(this.py())
    }
);
