//! How long the cyclic garbage collector has run.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::clock::monotonic_ns;

/// When the collection that is going on began, or 0. Relaxed, as is `TOTAL`: one collection runs at a time, and a
/// reader may see an end a moment late.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds in collections that are over.
static TOTAL: AtomicU64 = AtomicU64::new(0);

/// A collection begins.
pub(crate) fn begins() {
    SINCE.store(monotonic_ns(), Ordering::Relaxed);
}

/// A collection is over.
pub(crate) fn ends() {
    let since = SINCE.swap(0, Ordering::Relaxed);
    if since != 0 {
        TOTAL.fetch_add(monotonic_ns().saturating_sub(since), Ordering::Relaxed);
    }
}

/// A collection that goes on may be of a parent of this process, or its end may not be noted.
pub(crate) fn forget() {
    SINCE.store(0, Ordering::Relaxed);
}

/// Nanoseconds in collections until `now`, since the first one that was noted.
pub(super) fn collecting_ns(now: u64) -> u64 {
    let running = match SINCE.load(Ordering::Relaxed) {
        0 => 0,
        since => now.saturating_sub(since),
    };
    TOTAL.load(Ordering::Relaxed) + running
}
