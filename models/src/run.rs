//! Runs a model, and tells how many schedules there were.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A program of a few threads, which loom runs in every order.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// How often a thread may be interrupted in one schedule where it could go on; `None` for any number.
    pub(crate) interruptions: Option<usize>,
    pub(crate) program: fn(),
}

/// Whether no schedule panics or hangs.
pub(crate) fn passes(model: &Model) -> bool {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let program = model.program;
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = model.interruptions;
    builder.max_branches = 10_000;
    let since = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            program();
        });
    }));
    let outcome = if outcome.is_ok() { "ok" } else { "FAILED" };
    let (name, count) = (model.name, count.load(Ordering::Relaxed));
    let seconds = since.elapsed().as_secs_f64();
    println!("{name:<18} {count:>8} schedules  {seconds:5.1} s  {outcome}");
    outcome == "ok"
}
