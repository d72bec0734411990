//! A histogram of latencies with an error of at most 1.6 %, in a fixed 30 KiB.

use std::{fmt, time::Duration};

/// Values that share their highest seven bits share a bucket.
const LINEAR_BITS: u32 = 6;
const LINEAR: u64 = 1 << LINEAR_BITS;
const BUCKETS: usize = ((64 - LINEAR_BITS as usize) + 1) << LINEAR_BITS;

#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into(),
            count: 0,
        }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the `fraction` quantile of the latencies, in microseconds.
    ///
    /// Returns `None` if nothing was recorded.
    pub(crate) fn quantile_us(&self, fraction: f64) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank that is off by one in 2^53 does not matter"
        )]
        let rank = ((self.count as f64 * fraction).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(middle_ns(index) / 1000.0);
            }
        }
        None
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(LINEAR_BITS + 1);
    let index = (u64::from(shift) << LINEAR_BITS) + (nanoseconds >> shift);
    usize::try_from(index).expect("an index is below BUCKETS")
}

fn middle_ns(index: usize) -> f64 {
    let index = index as u64;
    let shift = (index >> LINEAR_BITS).saturating_sub(1);
    let low = (index - (shift << LINEAR_BITS)) << shift;
    debug_assert!(low < LINEAR || shift == 0 || low >= LINEAR << shift);
    #[expect(clippy::cast_precision_loss, reason = "the bucket is wider than that")]
    let middle = low as f64 + ((1u64 << shift) - 1) as f64 / 2.0;
    middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_1_6_percent_of_its_values() {
        for value in (0..100_000).chain((0..64).map(|bit| 1u64 << bit)) {
            #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
            let value_f = value as f64;
            let middle = middle_ns(bucket(value));
            assert!(
                (middle - value_f).abs() <= value_f * 0.016,
                "{value}: {middle}"
            );
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_hundred_microseconds() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), None);
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }
        assert_eq!(histogram.count(), 100);
        for (fraction, expected) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)] {
            let got = histogram.quantile_us(fraction).unwrap();
            assert!(
                (got - expected).abs() < expected * 0.016,
                "{fraction}: {got}"
            );
        }
    }
}
