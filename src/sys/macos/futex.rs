//! Waiting until a number changes. The system's call for it is newer than the systems that this runs on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Waits until the number is not `expected`, for at most `limit`. May return earlier.
pub(crate) fn wait_while(number: &AtomicU32, expected: u32, limit: Option<Duration>) {
    let mut left = limit.unwrap_or(Duration::MAX);
    while number.load(Ordering::Acquire) == expected && !left.is_zero() {
        let step = left.min(STEP);
        thread::sleep(step);
        left -= step;
    }
}

/// Nothing: the waits look by themselves.
pub(crate) fn wake_all(_number: &AtomicU32) {}

/// The time between two looks.
const STEP: Duration = Duration::from_millis(20);
