//! The clock of `time.monotonic()`, and a timer descriptor on it, which gives the reactor nanosecond resolution;
//! tokio's own timer ticks in milliseconds.

pub(crate) use super::platform::TimerFd;

/// Nanoseconds on the clock of `time.monotonic()`.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to `now`, which lives for the whole call. (`syscall!` would look for an interrupt, which this
    // has not, in registers that must be saved first: turns and timers read the clock.)
    let result = unsafe { libc::clock_gettime(super::platform::MONOTONIC, &raw mut now) };
    assert!(result == 0, "the clock exists on every Unix this builds on");
    now.tv_sec.cast_unsigned() * NANOS_PER_SECOND + now.tv_nsec.cast_unsigned()
}

/// Nanoseconds in so many seconds, rounded up; 0 for less than none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, as it should"
)]
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).ceil() as u64
}

pub(super) const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::sys::pipe;

    const FAR_NS: u64 = 3600 * NANOS_PER_SECOND;

    #[test]
    fn it_fires_at_its_deadline() {
        let timer = TimerFd::new().unwrap();
        assert!(!has_fired(&timer));
        let deadline_ns = monotonic_ns() + NANOS_PER_SECOND / 50;
        timer.set(deadline_ns).unwrap();
        while !has_fired(&timer) {
            assert!(monotonic_ns() < deadline_ns + 5 * NANOS_PER_SECOND);
            thread::sleep(Duration::from_micros(100));
        }
        // The clock ticks every 42 ns or faster.
        assert!(monotonic_ns() + 42 >= deadline_ns);
        assert!(has_fired(&timer));
    }

    #[test]
    fn it_can_be_set_again_whether_it_has_fired_or_not() {
        let timer = TimerFd::new().unwrap();
        for deadline_ns in [0, 1, monotonic_ns()] {
            timer.set(monotonic_ns() + FAR_NS).unwrap();
            assert!(!has_fired(&timer));
            timer.set(deadline_ns).unwrap();
            while !has_fired(&timer) {
                thread::yield_now();
            }
        }
        timer.set(u64::MAX).unwrap();
        assert!(!has_fired(&timer));
    }

    fn has_fired(timer: &TimerFd) -> bool {
        pipe::has_input(timer.as_raw_fd()).unwrap()
    }
}
