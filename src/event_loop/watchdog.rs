//! What `yamanote.watch()` is made of.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::scheduler::{Core, seconds};
use crate::sys::clock::nanoseconds;
use crate::sys::dump::Dumper;
use crate::watchdog::{Found, Limits, Mark, Watcher, collections};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyWatcher>()?;
    module.add_function(wrap_pyfunction!(note_collection, module)?)
}

/// Notices that loops stall. A Python thread calls `wait()` again and again.
#[pyclass(name = "Watcher", frozen, module = "yamanote._yamanote")]
#[derive(Debug, Default)]
struct PyWatcher(Watcher);

/// What Python gets of a stall: the number of the loop; the kind; the duration, when that was so, the time on processors
/// and without one (`None` if not known), the time in collections, in seconds; whether it has ended; the thread's two
/// numbers; what `is_still` takes.
type Told = (
    u64,
    &'static str,
    f64,
    f64,
    Option<f64>,
    Option<f64>,
    f64,
    bool,
    (u64, u64),
    (u64, u64),
);

#[pymethods]
impl PyWatcher {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Watch a loop; return a number for it.
    #[pyo3(signature = (core, threshold, repeat, may_print, dumper, /))]
    fn add(
        &self,
        core: &Bound<'_, Core>,
        threshold: f64,
        repeat: f64,
        may_print: bool,
        dumper: Option<(i32, i32)>,
    ) -> u64 {
        let limits = Limits {
            threshold: nanoseconds(threshold),
            repeat: nanoseconds(repeat),
            may_print,
            dumper: dumper.map(|(signal, file)| Dumper { signal, file }),
        };
        self.0.add(Arc::clone(&core.get().shared.meters), limits)
    }

    /// Watch it no more.
    #[pyo3(signature = (number, /))]
    fn remove(&self, number: u64) {
        self.0.remove(number);
    }

    /// Whether the loop is still at what a stall was noticed at.
    #[pyo3(signature = (number, mark, /))]
    fn is_still(&self, number: u64, mark: (u64, u64)) -> bool {
        let (version, callbacks) = mark;
        self.0.is_still(number, Mark { version, callbacks })
    }

    /// Take what the signal handler has written of the loop's thread since the last call.
    #[pyo3(signature = (number, /))]
    fn take_dumped(&self, number: u64) -> Option<String> {
        self.0.take_dumped(number)
    }

    /// Wait until loops stall, and return the stalls; `None` after `stop()`. Without a GIL, the switch interval is 0.
    #[pyo3(signature = (switch_interval, /))]
    fn wait(&self, py: Python<'_>, switch_interval: f64) -> Option<Vec<Told>> {
        let found = py.detach(|| self.0.wait(nanoseconds(switch_interval)))?;
        Some(found.iter().map(told).collect())
    }

    /// End `wait()`, now and for ever.
    fn stop(&self) {
        self.0.stop();
    }
}

fn told(found: &Found) -> Told {
    let stall = &found.stall;
    (
        found.watched,
        stall.kind.name(),
        seconds(stall.duration),
        seconds(stall.seen),
        stall.cpu.map(seconds),
        stall.delay.map(seconds),
        seconds(stall.collecting),
        stall.ended,
        (stall.thread.ident, stall.thread.native_id),
        (stall.mark.version, stall.mark.callbacks),
    )
}

/// For `gc.callbacks`. "forget" forgets a collection that goes on.
#[pyfunction]
#[pyo3(name = "_note_collection", signature = (phase, info, /))]
fn note_collection(phase: &str, info: &Bound<'_, PyAny>) {
    let _ = info; // Which generation, and how many objects.
    match phase {
        "start" => collections::begins(),
        "stop" => collections::ends(),
        _ => collections::forget(),
    }
}
