//! Whether others accept from the same listening socket, and how a loop leaves them their part.
//!
//! An arrival wakes every loop that listens, in whichever thread or process, and the quickest takes it; one that is
//! awake when many arrive takes them all. The kernel tells no loop of the others. But a loop that leaves a connection for
//! a while and finds it gone has learned of them. From then on, it waits a random time before it takes one, as stations
//! on a shared cable do: over many connections, each is the first equally often.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What a loop knows of those who share one listening socket with it. Relaxed, because only its own thread asks.
#[derive(Debug)]
pub(super) struct Sharing {
    /// So many connections more, others are known to share; 0 for a loop that seems to be alone.
    known: AtomicUsize,
    /// All connections so far.
    accepted: AtomicUsize,
    /// Connections that a loop alone accepts before it looks at its other descriptors.
    batch: AtomicUsize,
    /// Whether a rest has begun and is not over.
    rests: AtomicBool,
    /// How many connections waited when it began.
    waited: AtomicUsize,
    /// Whether a limit has ended a batch, so that there may have been no other connection.
    is_stopped: AtomicBool,
}

/// What to do about an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Accept so many at most.
    Accept(usize),
    /// Look again after so long.
    Rest(Duration),
    /// A rest is not over.
    Leave,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            known: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            batch: AtomicUsize::new(1),
            rests: AtomicBool::new(false),
            waited: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
        }
    }
}

impl Sharing {
    /// There is a connection to accept. `waiting` counts those in the kernel's queue, if it can.
    pub(super) fn arrived(
        &self,
        now_ns: impl FnOnce() -> u64,
        waiting: impl FnOnce() -> Option<usize>,
    ) -> Arrival {
        if self.rests.load(Ordering::Relaxed) {
            return Arrival::Leave;
        }
        if self.known.load(Ordering::Relaxed) == 0 && !self.probes() {
            return Arrival::Accept(self.batch.load(Ordering::Relaxed));
        }
        let rest_ns = self.draw(now_ns()) % LONGEST_NS;
        Arrival::Rest(self.rest(rest_ns, waiting()))
    }

    /// A rest is over, if there was one. Returns how many to accept at most.
    pub(super) fn rested(&self, waiting: impl FnOnce() -> Option<usize>) -> usize {
        let rested = self.rests.swap(false, Ordering::Relaxed);
        if rested && waiting().is_some_and(|left| left < self.waited.load(Ordering::Relaxed)) {
            self.missed();
        }
        self.batch.load(Ordering::Relaxed)
    }

    /// A connection was accepted.
    pub(super) fn accepted(&self) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.accepted
            .store(accepted.wrapping_add(1), Ordering::Relaxed);
        self.is_stopped.store(false, Ordering::Relaxed);
        let known = self.known.load(Ordering::Relaxed);
        self.known.store(known.saturating_sub(1), Ordering::Relaxed);
    }

    /// A limit of the server keeps it from accepting.
    pub(super) fn stopped(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Nothing can be accepted for a while: that is a rest, too, so that an arrival does not end it.
    pub(super) fn failed(&self) {
        self.rest(0, None);
    }

    /// A connection that waited is gone.
    pub(super) fn missed(&self) {
        if self.is_stopped.swap(false, Ordering::Relaxed) {
            return;
        }
        self.known.store(REMEMBERED, Ordering::Relaxed);
        self.batch.store(1, Ordering::Relaxed);
    }

    /// No connection is left.
    pub(super) fn drained(&self) {
        self.batch.store(1, Ordering::Relaxed);
    }

    /// A batch was accepted, and more wait. Returns for how long to leave them to others.
    pub(super) fn more(
        &self,
        most: usize,
        now_ns: impl FnOnce() -> u64,
        waiting: impl FnOnce() -> Option<usize>,
    ) -> Option<Duration> {
        let accepted = self.accepted.load(Ordering::Relaxed);
        let is_alone = self.known.load(Ordering::Relaxed) == 0 && !self.probes();
        if is_alone && accepted >= NEW_AND_UNCOUNTED {
            self.grow(most);
            return None;
        }
        let waiting = waiting();
        if is_alone && accepted >= NEW && waiting.is_some() {
            self.grow(most);
            return None;
        }
        let rest_ns = LONGEST_NS / 4 + self.draw(now_ns()) % (LONGEST_NS / 4);
        Some(self.rest(rest_ns, waiting))
    }

    fn grow(&self, most: usize) {
        let batch = self.batch.load(Ordering::Relaxed);
        self.batch.store((batch * 2).min(most), Ordering::Relaxed);
    }

    /// Whether to leave the next connection, to see whether others take it.
    fn probes(&self) -> bool {
        let accepted = self.accepted.load(Ordering::Relaxed);
        let every = if accepted < NEW {
            PROBED_WHILE_NEW
        } else {
            PROBED
        };
        accepted % every == every - 1
    }

    fn rest(&self, rest_ns: u64, waiting: Option<usize>) -> Duration {
        self.waited.store(waiting.unwrap_or(0), Ordering::Relaxed);
        self.rests.store(true, Ordering::Relaxed);
        Duration::from_nanos(rest_ns)
    }

    /// A number that no other loop draws: each has its own address, or its own instant.
    fn draw(&self, now_ns: u64) -> u64 {
        // The finalizer of SplitMix64.
        let mixed = now_ns ^ (std::ptr::from_ref(self) as u64).rotate_left(32);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The longest rest. Wakes of loops differ by some 50 us, and a much shorter one would leave the choice to them. Two
/// loops add a third of it to the time until a connection is accepted, four a fifth.
const LONGEST_NS: u64 = 200_000;
/// Connections in a row that none of the others has taken, after which there are none.
const REMEMBERED: usize = 1_024;
/// The first connections of a listener. Where many wait from the beginning, the loop rests after each of these.
const NEW: usize = 32;
/// As many where the kernel does not count them, so that others show only where they leave none.
const NEW_AND_UNCOUNTED: usize = 1_024;
/// One of so many is left for a while, ...
const PROBED: usize = 1_024;
/// ... and of the first.
const PROBED_WHILE_NEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(sharing: &Sharing) -> Arrival {
        sharing.arrived(|| 1, || Some(0))
    }

    fn more(sharing: &Sharing) -> Option<Duration> {
        sharing.more(100, || 1, || Some(9))
    }

    fn take(sharing: &Sharing, count: usize) {
        (0..count).for_each(|_| sharing.accepted());
    }

    #[test]
    fn a_loop_alone_rests_rarely_and_less_so_later() {
        let sharing = Sharing::default();
        let mut rests = [0, 0];
        for count in 0..NEW + 4 * PROBED {
            if matches!(arrived(&sharing), Arrival::Rest(_)) {
                rests[usize::from(count >= NEW)] += 1;
                assert_eq!(sharing.rested(|| Some(1)), 1);
            }
            sharing.accepted();
            sharing.drained();
        }
        assert_eq!(rests, [NEW / PROBED_WHILE_NEW, 4]);
    }

    #[test]
    fn a_loop_alone_takes_more_and_more_of_those_that_wait() {
        let sharing = Sharing::default();
        assert!(more(&sharing).is_some());
        assert_eq!(sharing.rested(|| Some(9)), 1);
        take(&sharing, NEW);
        for batch in [2, 4, 8, 16, 32, 64, 100, 100] {
            assert_eq!(more(&sharing), None);
            assert_eq!(sharing.rested(|| Some(0)), batch);
        }
        sharing.drained();
        assert_eq!(arrived(&sharing), Arrival::Accept(1));
    }

    #[test]
    fn an_arrival_does_not_end_the_rest_after_a_failure() {
        let sharing = Sharing::default();
        sharing.failed();
        assert_eq!(arrived(&sharing), Arrival::Leave);
        assert_eq!(sharing.rested(|| Some(0)), 1);
        assert_eq!(arrived(&sharing), Arrival::Accept(1));
    }

    #[test]
    fn a_loop_rests_for_longer_where_nothing_is_counted() {
        let sharing = Sharing::default();
        take(&sharing, NEW);
        assert_eq!(more(&sharing), None);
        assert!(sharing.more(100, || 1, || None).is_some());
        take(&sharing, NEW_AND_UNCOUNTED - NEW);
        assert_eq!(sharing.more(100, || 1, || None), None);
    }

    #[test]
    fn a_queue_that_has_shrunk_in_a_rest_betrays_the_others() {
        let sharing = Sharing::default();
        assert!(more(&sharing).is_some());
        assert_eq!(sharing.rested(|| Some(10)), 1);
        assert_eq!(arrived(&sharing), Arrival::Accept(1));
        assert!(more(&sharing).is_some());
        assert_eq!(sharing.rested(|| Some(8)), 1);
        assert!(matches!(arrived(&sharing), Arrival::Rest(_)));
    }

    #[test]
    fn a_loop_rests_until_it_has_been_alone_for_long() {
        let sharing = Sharing::default();
        sharing.missed();
        for _ in 0..REMEMBERED {
            assert!(
                matches!(arrived(&sharing), Arrival::Rest(rest) if rest.as_nanos() < LONGEST_NS.into())
            );
            assert_eq!(arrived(&sharing), Arrival::Leave);
            assert_eq!(sharing.rested(|| Some(0)), 1);
            sharing.accepted();
        }
        assert_eq!(arrived(&sharing), Arrival::Accept(1));
    }

    #[test]
    fn loops_that_share_are_first_equally_often() {
        let loops: [Sharing; 4] = Default::default();
        let mut first = [0; 4];
        for round in 0..10_000 {
            let draws = loops
                .each_ref()
                .map(|sharing| sharing.draw(round * 100_000) % LONGEST_NS);
            let least = draws.iter().min().unwrap();
            first[draws.iter().position(|draw| draw == least).unwrap()] += 1;
        }
        let fair = 2_200..2_800;
        assert!(first.iter().all(|times| fair.contains(times)), "{first:?}");
    }
}
