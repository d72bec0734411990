//! What a loop counts about itself, for `Loop.metrics()`.

use super::limits::Overdue;
use super::phases::Phases;
use super::pressure::Pressure;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The counters and gauges of one loop. Every thread may read them.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) phases: Phases,
    /// Entries of the ready queue that ran: callbacks, events, steps of transports.
    pub(crate) callbacks: Meter,
    pub(crate) io_events: Meter,
    pub(crate) timers_fired: Meter,
    pub(crate) timers_cancelled: Meter,
    pub(crate) accepts: Meter,
    pub(crate) connections_lost: Meter,
    pub(crate) bytes_in: Meter,
    pub(crate) bytes_out: Meter,
    /// Waits that other threads ended. Relaxed: they only count.
    pub(crate) threadsafe_wakeups: AtomicU64,
    pub(crate) ready: Meter,
    pub(crate) timers: Meter,
    pub(crate) transports: Meter,
    pub(crate) fds: Meter,
    pub(crate) buffered_bytes: Meter,
    /// How near `buffered_bytes` are to their bound.
    pub(crate) pressure: Pressure,
    /// Connections ended by each limit.
    pub(crate) first_byte_timeouts: Meter,
    pub(crate) handshake_timeouts: Meter,
    pub(crate) write_stalls: Meter,
    pub(crate) idle_timeouts: Meter,
    /// How often a listener stopped accepting for a limit.
    pub(crate) accept_pauses: Meter,
    /// How late timers fired.
    pub(crate) lateness: Histogram,
}

impl Meters {
    /// The bytes that wait in transports have changed.
    #[inline]
    pub(crate) fn note_buffered(&self) {
        self.pressure.update(self.buffered_bytes.get());
    }

    /// The connections that such a limit has ended.
    pub(crate) fn ended_by(&self, limit: Overdue) -> &Meter {
        match limit {
            Overdue::FirstByte => &self.first_byte_timeouts,
            Overdue::Handshake => &self.handshake_timeouts,
            Overdue::WriteStall => &self.write_stalls,
            Overdue::Idle => &self.idle_timeouts,
        }
    }
}

/// A number that only the loop's thread changes, so that a change is no locked instruction. Relaxed: a reader on
/// another thread takes each number as it is.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    #[inline]
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// As `add`, for a number of bytes or objects.
    #[inline]
    pub(crate) fn add_size(&self, more: usize) {
        self.add(more as u64);
    }

    /// A part of a sum was `before` and is `after` now.
    #[inline]
    pub(crate) fn shift(&self, before: usize, after: usize) {
        self.set(
            self.get()
                .wrapping_add(after as u64)
                .wrapping_sub(before as u64),
        );
    }
}

/// How often durations came: one bucket for each power of two of microseconds, and the sum in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Meter; BUCKETS],
    sum_ns: Meter,
}

/// The first bucket has what took less than a microsecond, the next what took less than two, the last what took 2^26
/// microseconds (67 s) or more.
pub(crate) const BUCKETS: usize = 28;

impl Histogram {
    #[inline]
    pub(crate) fn record(&self, ns: u64) {
        let bucket = (u64::BITS - (ns / 1_000).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].count();
        self.sum_ns.add(ns);
    }

    pub(crate) fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    pub(crate) fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_its_power_of_two() {
        let histogram = Histogram::default();
        let all = [
            (0, 0),
            (999, 0),
            (1_000, 1),
            (1_999, 1),
            (2_000, 2),
            (4_000, 3),
            (67_108_863_999, 26),
            (67_108_864_000, 27),
            (u64::MAX / 2, 27),
        ];
        let mut wanted = [0; BUCKETS];
        for (ns, bucket) in all {
            histogram.record(ns);
            wanted[bucket] += 1;
            assert_eq!(histogram.counts(), wanted, "{ns} ns");
        }
    }

    #[test]
    fn a_sum_follows_its_parts() {
        let sum = Meter::default();
        sum.shift(0, 7);
        sum.shift(0, 5);
        sum.shift(7, 2);
        assert_eq!(sum.get(), 7);
        sum.shift(2, 0);
        sum.shift(5, 0);
        assert_eq!(sum.get(), 0);
    }
}
