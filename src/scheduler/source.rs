//! Something other than a callback that a turn can run.

use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::limits::Look;
use super::tracer::Kind;
use super::visit::Visit;
use super::{Core, Local};
use crate::ffi::Stopped;
use crate::ffi::naming::Called;

pub(crate) use crate::driver::{READ, WRITE};

/// The owner of a registered descriptor.
pub(crate) trait Source: Send + Sync {
    /// Handles what became ready (`READ`, `WRITE`) since the last call. On the loop's thread.
    ///
    /// `SystemExit` and `KeyboardInterrupt` end the run. What else is known to fail is reported where it happens,
    /// in asyncio's words; the rest goes to `on_failed`.
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()>;

    /// As `on_ready`, while Python's `_faults` decides what becomes of events.
    fn on_ready_with_faults(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        self.on_ready(core, ready)
    }

    /// What a trace shows for this event, and by whose name.
    fn traced(&self, _core: &Bound<'_, Core>, ready: u8) -> PyResult<(Kind, Option<Called>)> {
        Ok((Kind::of_event(ready), None))
    }

    /// Anything else got out of `on_ready`: ends what cannot go on, or has it go on. What this raises, the turn
    /// reports.
    fn on_failed(&self, _core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
        Err(error)
    }

    /// What to tell it when it is not known what happened while it handled an event: what it then looks at is at
    /// worst as it was.
    fn again(&self) -> u8 {
        READ | WRITE
    }

    /// In a forked child, whose loop starts on a reactor of its own: has it watch the descriptor.
    ///
    /// The reactor tells of what is ready already. A source that does nothing here gets no event in the child.
    fn renew(&self, _py: Python<'_>, _local: &Local) {}

    /// The loop is closed, and about to forget this source. Attached, on the closing thread.
    fn on_close(&self, _core: &Core, _py: Python<'_>) {}

    /// The transport that this is, if it is one; with `fd`, only the one that owns it.
    fn transport<'py>(&self, _py: Python<'py>, _fd: Option<RawFd>) -> Option<Bound<'py, PyAny>> {
        None
    }

    /// Looks whether a connection has exceeded one of its limits, at `now`, in milliseconds modulo 2^32.
    fn look(&self, _py: Python<'_>, _now: u32) -> Look {
        Look::default()
    }

    /// While too many bytes wait to be sent, over all transports: has a slow peer's protocol pause, if the pressure
    /// `has_risen`; has a paused one resume when that is over.
    fn press(&self, _core: &Bound<'_, Core>, _has_risen: bool) -> PyResult<()> {
        Ok(())
    }

    /// Ends a connection that has.
    fn shed(&self, _core: &Bound<'_, Core>) -> PyResult<()> {
        Ok(())
    }

    /// Shows every Python object held.
    fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>);
}
