//! Looks at all connections: ends those that have exceeded a limit, and has slow ones wait while memory is short.

use pyo3::prelude::*;

use super::Core;
use super::Source;
use super::limits::milliseconds;
use super::local::Looks;
use super::pressure::Level;
use super::tracer::Kind;
use super::turn::now;
use super::visit::Visit;
use crate::ffi::naming::Called;
use crate::ffi::{Stopped, name};
use crate::sys::clock::monotonic_ns;

/// To the next look after one that has failed.
const RETRY_NS: u64 = 1_000_000_000;

impl Source for Looks {
    fn on_ready(&self, core: &Bound<'_, Core>, _ready: u8) -> PyResult<()> {
        let looked = core.call_method0(name!(core.py(), "_look"));
        if looked.is_err() {
            // There may have been no memory even for the call, which has the next look come.
            let local = core.get().local(core.py())?;
            local.deadlines.look_at(monotonic_ns() + RETRY_NS);
        }
        looked.map(drop)
    }

    fn traced(&self, _core: &Bound<'_, Core>, _ready: u8) -> PyResult<(Kind, Option<Called>)> {
        Ok((Kind::Callback, None))
    }

    fn objects(&self, _stopped: Stopped<'_>, _visit: Visit<'_>) {}
}

/// Ends them, and returns after how many milliseconds to look again; 0 while no connection has limits.
pub(crate) fn shed(core: &Bound<'_, Core>) -> PyResult<u32> {
    let local = core.get().local(core.py())?;
    let now = milliseconds(now(core, &local)?);
    let (late, shortest) = local.overdue(core.py(), now)?;
    let wait = local.limiting.looked(shortest);
    let mut result = Ok(wait);
    for (source, limit) in late {
        core.get().shared.meters.ended_by(limit).count();
        let shed = source.shed(core);
        result = result.and_then(|wait| shed.map(|()| wait));
    }
    result
}

/// Has the protocols of slow peers pause, if the pressure `has_risen`, and others resume; returns whether there still
/// is pressure.
pub(crate) fn press(core: &Bound<'_, Core>, has_risen: bool) -> PyResult<bool> {
    let sources = core.get().local(core.py())?.every_source()?;
    let mut result = Ok(());
    for source in sources {
        let pressed = source.press(core, has_risen);
        result = result.and(pressed);
    }
    let level = core.get().shared.meters.pressure.level();
    result.map(|()| level != Level::None)
}
