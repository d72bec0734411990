//! `timers`: the heap against a list that is searched from end to end, as asyncio would use it.

use pyo3::prelude::*;

use super::timers::Timers;
use crate::ffi::handle::{self, Handle};
use crate::input::Input;

/// One timer that asyncio would have in its heap.
struct Scheduled {
    when: f64,
    handle: Py<Handle>,
    is_cancelled: bool,
    /// Our heap let go of it before asyncio would look, at the next turn.
    is_swept: bool,
}

#[derive(Default)]
struct Model {
    /// In the order in which they were scheduled.
    list: Vec<Scheduled>,
    /// Cancelled by other threads, since the last turn.
    uncounted: usize,
}

impl Model {
    fn heap(&self) -> impl Iterator<Item = &Scheduled> {
        self.list.iter().filter(|timer| !timer.is_swept)
    }

    /// Cancelled timers in the heap, as far as the loop's thread can know of them.
    fn cancelled(&self) -> usize {
        let cancelled = self.heap().filter(|timer| timer.is_cancelled).count();
        cancelled.saturating_sub(self.uncounted)
    }

    /// asyncio's rule (`base_events.py`), as it stands there. It sweeps only when a turn begins.
    fn is_stale(&self) -> bool {
        let sched_count = self.list.len();
        let cancelled = self.list.iter().filter(|timer| timer.is_cancelled).count();
        sched_count > 100 && cancelled as f64 / sched_count as f64 > 0.5
    }

    /// What runs first: the earliest, and of several the one that was scheduled first.
    fn first(&self) -> Option<usize> {
        let mut first: Option<(usize, &Scheduled)> = None;
        for (index, timer) in self
            .list
            .iter()
            .enumerate()
            .filter(|(_, timer)| !timer.is_swept)
        {
            if first.is_none_or(|(_, other)| timer.when.total_cmp(&other.when).is_lt()) {
                first = Some((index, timer));
            }
        }
        first.map(|(index, _)| index)
    }

    fn swept(&mut self, py: Python<'_>, timers: &mut Timers) {
        let dead = timers.sweep(py);
        let cancelled = self
            .list
            .iter_mut()
            .filter(|timer| timer.is_cancelled && !timer.is_swept);
        let expected = cancelled.map(|timer| timer.is_swept = true).count();
        // One more is of `newest`.
        assert!(
            dead.len() == expected || dead.len() == expected + 1,
            "{} of {expected}",
            dead.len()
        );
        assert!(
            dead.iter()
                .all(|handle| handle::is_cancelled(handle.bind(py)))
        );
    }
}

pub(crate) fn fuzz(mut input: Input<'_>) {
    let py = Python::token();
    let (mut timers, mut model) = (Timers::default(), Model::default());
    while let Some(step) = input.step() {
        match step % 8 {
            0..=2 => schedule(py, &mut timers, &mut model, &mut input, step),
            3 => cancel(
                py,
                &mut timers,
                &mut model,
                input.byte().into(),
                input.flag(),
            ),
            // A run begins with settling.
            4 | 5 => {
                timers.settle(py);
                turn(py, &mut timers, &mut model);
                run(py, &mut timers, &mut model, &mut input);
            }
            6 if step > 240 => {
                assert_eq!(timers.take().len(), model.heap().count());
                (timers, model) = (Timers::default(), Model::default());
            }
            6 => timers.settle(py),
            _ => many(py, &mut timers, &mut model, &mut input),
        }
        check(&timers, &model);
        if model.list.len() > 160 {
            break;
        }
    }
    // Everything comes out in order.
    timers.settle(py);
    while let Some((when, handle)) = timers.pop_due(py, f64::INFINITY) {
        popped(&mut model, when, &handle);
    }
    assert!(
        model
            .heap()
            .all(|timer| timer.when.is_nan() || timer.when > f64::INFINITY)
    );
}

fn schedule(
    py: Python<'_>,
    timers: &mut Timers,
    model: &mut Model,
    input: &mut Input<'_>,
    step: u8,
) {
    let when = match step {
        0..=180 => f64::from(input.byte()) / 4.0 - 8.0,
        _ => f64::from_bits(u64::from_le_bytes(input.number())),
    };
    push(py, timers, model, when, step % 8 == 2);
}

fn push(py: Python<'_>, timers: &mut Timers, model: &mut Model, when: f64, is_stopped: bool) {
    if when.is_nan() {
        return; // `call_at` has refused it: the clock is compared with it.
    }
    let handle = Py::new(Handle::default());
    let pushed = if is_stopped {
        timers.push_stopped(py, when, handle.clone_ref(py))
    } else {
        timers.push(when, handle.clone_ref(py))
    };
    pushed.expect("there is memory");
    model.list.push(Scheduled {
        when,
        handle,
        is_cancelled: false,
        is_swept: false,
    });
}

/// Enough for asyncio's rule, which looks at more than a hundred.
fn many(py: Python<'_>, timers: &mut Timers, model: &mut Model, input: &mut Input<'_>) {
    let (count, first, step) = (input.byte() / 2, input.byte(), input.byte());
    if step & 1 == 0 {
        for index in 0..count {
            let when = first.wrapping_add(index.wrapping_mul(step));
            push(py, timers, model, f64::from(when), false);
        }
    } else {
        for index in 0..usize::from(count) {
            cancel(py, timers, model, usize::from(first) + index, true);
        }
    }
}

fn cancel(py: Python<'_>, timers: &mut Timers, model: &mut Model, which: usize, is_here: bool) {
    let count = model.list.len().max(1);
    let Some(timer) = model
        .list
        .get_mut(which % count)
        .filter(|timer| !timer.is_cancelled)
    else {
        return;
    };
    timer.is_cancelled = true;
    handle::cancel(timer.handle.bind(py));
    if !is_here {
        model.uncounted += 1;
        return;
    }
    let is_stale = timers.count_cancelled();
    let scheduled = model.heap().count();
    assert_eq!(
        is_stale,
        scheduled > 100 && model.cancelled() * 2 > scheduled
    );
    if is_stale {
        model.swept(py, timers);
    }
}

/// What a turn begins with: counting, sweeping, and letting go of the first ones if they were cancelled.
fn turn(py: Python<'_>, timers: &mut Timers, model: &mut Model) {
    let more = std::mem::take(&mut model.uncounted);
    let is_stale = timers.begin_turn(more);
    let is_left = model.heap().any(|timer| timer.is_cancelled);
    // asyncio knows no other threads.
    if more == 0 {
        assert_eq!(is_stale, is_left && model.is_stale());
    }
    if is_stale {
        model.swept(py, timers);
    }
    model.list.retain(|timer| !timer.is_swept);
    while let Some(handle) = timers.pop_cancelled(py) {
        let when = model.first().map(|index| model.list[index].when);
        popped(model, when.expect("one is there"), &handle);
        assert!(handle::is_cancelled(&handle));
    }
    let first = model.first().map(|index| model.list[index].is_cancelled);
    assert!(first != Some(true), "a cancelled one is the first");
}

/// Runs what is due.
fn run(py: Python<'_>, timers: &mut Timers, model: &mut Model, input: &mut Input<'_>) {
    let now = f64::from(input.byte()) / 4.0 - 8.0;
    while let Some((when, handle)) = timers.pop_due(py, now) {
        assert!(when <= now);
        popped(model, when, &handle);
    }
    assert!(
        model.heap().all(|timer| timer.when > now),
        "one is due, and was not run"
    );
}

fn popped(model: &mut Model, when: f64, handle: &Bound<'_, Handle>) {
    let timer = model.list.remove(model.first().expect("one is there"));
    assert_eq!(when.to_bits(), timer.when.to_bits());
    assert_eq!(
        handle.as_ptr(),
        timer.handle.bind(handle.py()).as_ptr(),
        "not the first"
    );
}

fn check(timers: &Timers, model: &Model) {
    let earliest = model.first().map(|index| model.list[index].when);
    assert_eq!(
        timers.earliest().map(f64::to_bits),
        earliest.map(f64::to_bits)
    );
    assert_eq!(timers.handles().count(), model.heap().count());
    let is_there = |timer: &Scheduled| timer.handle.references() > 1;
    assert!(model.heap().all(is_there), "one was lost");
    assert_eq!(timers.count(), model.heap().count() - model.cancelled());
}
