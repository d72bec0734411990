//! Turns of a loop for tests, whose time and order `yamanote.testing` decides.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::Turn;
use crate::ffi::{make, name};
use crate::sys::clock::{monotonic_ns, nanoseconds};

impl Turn<'_, '_> {
    /// Asks the virtual clock whether this turn may wait, and for how long.
    ///
    /// An exception of it ends the run: nothing can ever wake the loop.
    #[cold]
    pub(super) fn may_wait_in_virtual_time(&self) -> PyResult<bool> {
        let (py, core, local) = (self.core.py(), self.core.get(), self.local);
        let testing = &local.testing;
        if core.shared.inbox.is_filled() {
            return Ok(false);
        }
        let deadline = local.deadlines.next(py);
        let ran = core.shared.meters.callbacks.get();
        let progressed = testing.has_progressed(ran, local.deadlines.is_armed());
        let advance = name!(py, "_advance");
        let wait = self.core.call_method1(advance, (deadline, progressed))?;
        local.callback_over(self.core)?;
        if local.ready_count() > 0 {
            return Ok(false);
        }
        let Some(seconds) = wait.extract::<Option<f64>>()? else {
            return Ok(true);
        };
        if seconds <= 0.0 {
            return Ok(false);
        }
        let wait_ns = nanoseconds(seconds).saturating_add(1);
        local.deadlines.arm(monotonic_ns().saturating_add(wait_ns));
        testing.note_armed();
        Ok(true)
    }

    /// A pass begins: brings its entries into the order that Python chooses.
    #[cold]
    pub(super) fn arrange(&self, count: usize) -> PyResult<()> {
        let ran = self.core.get().shared.meters.callbacks.get();
        let ends = self
            .local
            .testing
            .begin_pass(ran.wrapping_add(count as u64));
        // In a nested run, the entries of the outer one are in the queue, too.
        if count == 0 || self.local.is_nested() {
            return Ok(());
        }
        let order = self.order_of(count, &ends)?;
        self.local.reorder(&order);
        Ok(())
    }

    /// A call is over. With a schedule, notes how far what it has scheduled goes in the queue.
    pub(super) fn note_end(&self) {
        let testing = &self.local.testing;
        if testing.arranges() {
            let ran = self.core.get().shared.meters.callbacks.get();
            testing.note_end(ran, self.local.ready_count());
        }
    }

    /// Asks Python for the order of the first `count` entries of the queue.
    fn order_of(&self, count: usize, ends: &[usize]) -> PyResult<Vec<usize>> {
        let py = self.core.py();
        let entries = (0..count).map(|index| Ok(self.local.show(py, index)));
        let entries = make::collected(entries)?;
        let mut origin = 0;
        let origins = make::collected((0..count).map(|index| {
            while ends.get(origin).is_some_and(|end| *end <= index) {
                origin += 1;
            }
            if origin < ends.len() {
                make::int(py, origin).map(Bound::into_any)
            } else {
                Ok(make::none(py))
            }
        }))?;
        let arrange = name!(py, "_arrange");
        let arguments = (list_of(py, &entries)?, list_of(py, &origins)?);
        self.core.call_method1(arrange, arguments)?.extract()
    }
}

fn list_of<'py>(py: Python<'py>, objects: &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyList>> {
    let objects: Vec<_> = objects.iter().map(Bound::as_borrowed).collect();
    make::list(py, &objects)
}
