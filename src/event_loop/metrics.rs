//! What `Loop.metrics()` reads.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::{add_fast_method, make, method};
use crate::scheduler::Core;
use crate::scheduler::meters::{Histogram, Meter, Meters};

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<CountSent>(class)?;
    add_fast_method::<ReadMeters>(class)
}

type This = Core;

method!(
    ReadMeters,
    "_read_meters",
    "The numbers of `yamanote.LoopMetrics`, in its order; times in nanoseconds, a histogram as its buckets and its sum.",
    |this| read(this)
);

method!(
    CountSent,
    "_count_sent",
    "($self, size, /)",
    "Count bytes that the kernel took past the native transports.",
    |this, arguments| {
        arguments.expect("_count_sent", 1, 1)?;
        if let Some(size) = arguments.get(0) {
            this.get().shared.meters.bytes_out.add_size(size.extract()?);
        }
        Ok(())
    }
);

fn read<'py>(this: &Bound<'py, Core>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let core = this.get();
    if let Some(local) = core.try_local(py) {
        // Otherwise, without the GIL, another thread runs the loop: then they are as when it last waited.
        local.measure();
    }
    let meters: &Meters = &core.shared.meters;
    let spent = meters.phases.spent();
    let turns = meters.phases.turns();
    let wakeups = meters.threadsafe_wakeups.load(Ordering::Relaxed);
    let turn_count: u64 = turns.counts().iter().sum();
    let mut numbers = Vec::with_capacity(25);
    for number in [spent.busy, spent.idle, spent.attaching, turn_count] {
        numbers.push(integer(py, number)?);
    }
    for meter in work(meters) {
        numbers.push(integer(py, meter.get())?);
    }
    numbers.push(integer(py, wakeups)?);
    for meter in limits(meters).into_iter().chain(gauges(meters)) {
        numbers.push(integer(py, meter.get())?);
    }
    for histogram in [turns, &meters.lateness] {
        numbers.push(histogram_to_python(py, histogram)?);
    }
    tuple(py, &numbers)
}

fn work(meters: &Meters) -> [&Meter; 8] {
    [
        &meters.callbacks,
        &meters.io_events,
        &meters.timers_fired,
        &meters.timers_cancelled,
        &meters.accepts,
        &meters.connections_lost,
        &meters.bytes_in,
        &meters.bytes_out,
    ]
}

fn limits(meters: &Meters) -> [&Meter; 5] {
    [
        &meters.accept_pauses,
        &meters.first_byte_timeouts,
        &meters.handshake_timeouts,
        &meters.write_stalls,
        &meters.idle_timeouts,
    ]
}

fn gauges(meters: &Meters) -> [&Meter; 5] {
    [
        &meters.ready,
        &meters.timers,
        &meters.transports,
        &meters.fds,
        &meters.buffered_bytes,
    ]
}

/// `(buckets, sum)`.
fn histogram_to_python<'py>(py: Python<'py>, histogram: &Histogram) -> PyResult<Bound<'py, PyAny>> {
    let counts = histogram.counts();
    let buckets = counts
        .iter()
        .map(|count| integer(py, *count))
        .collect::<PyResult<Vec<_>>>()?;
    let sum = integer(py, histogram.sum_ns())?;
    tuple(py, &[tuple(py, &buckets)?, sum])
}

fn tuple<'py>(py: Python<'py>, items: &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyAny>> {
    let borrowed: Vec<_> = items.iter().map(Bound::as_borrowed).collect();
    Ok(make::tuple(py, &borrowed)?.into_any())
}

fn integer(py: Python<'_>, number: u64) -> PyResult<Bound<'_, PyAny>> {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    Ok(make::int(py, number)?.into_any())
}
