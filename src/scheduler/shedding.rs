//! Ends the connections that have exceeded a limit.

use pyo3::prelude::*;

use super::Core;
use super::limits::milliseconds;
use super::turn::now;

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
