//! On which terms a connection is open: whether a server let it in, and how long it may keep the server waiting.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::traffic::{Moves, Traffic};
use crate::scheduler::admission::Admission;
use crate::scheduler::limits::{Look, Overdue, TimeLimits};

/// Empty, but for connections that a server has accepted, and those whose program set limits.
#[derive(Default)]
pub(crate) struct Terms {
    admission: Cell<Option<Admission>>,
    times: Cell<Option<Arc<TimeLimits>>>,
    /// Milliseconds on the loop's clock, modulo 2^32: when the connection began, when bytes last moved, and since when
    /// the peer has taken none of those that wait for it.
    began: Cell<u32>,
    moved: Cell<u32>,
    stalled: Cell<u32>,
    /// Bytes that the kernel held for the peer, while more waited here.
    queued: Cell<u32>,
}

impl Terms {
    /// A server has let the connection in.
    pub(super) fn accept(&self, admission: Admission) {
        drop(self.admission.replace(Some(admission)));
    }

    /// Sets the time limits, which begin to run `now`.
    pub(super) fn set_times(&self, times: Option<Arc<TimeLimits>>, now: u32) {
        drop(self.times.replace(times));
        for since in [&self.began, &self.moved, &self.stalled] {
            since.set(now);
        }
    }

    /// The connection is no more: another one may come in.
    pub(super) fn end(&self) {
        drop(self.admission.take());
        drop(self.times.take());
    }

    pub(crate) fn is_accepted(&self) -> bool {
        let admission = self.admission.take();
        let is_some = admission.is_some();
        self.admission.set(admission);
        is_some
    }

    pub(crate) fn times(&self) -> Option<TimeLimits> {
        let times = self.times.take();
        let copy = times.as_deref().copied();
        self.times.set(times);
        copy
    }

    /// The time before `now` does not count as idle.
    pub(super) fn resume(&self, now: u32) {
        self.moved.set(now);
    }

    /// In milliseconds: the shortest limit; 0 without any.
    #[inline]
    pub(crate) fn shortest(&self) -> u32 {
        let times = self.times.take();
        let shortest = times.as_deref().map_or(0, |times| times.shortest());
        self.times.set(times);
        shortest
    }

    /// Looks at a connection with `unsent` bytes that wait for its peer, besides those that the kernel has.
    ///
    /// The kernel asks for more only when it has sent much of what it has, which a slow peer takes long for.
    pub(super) fn look(
        &self,
        traffic: &Traffic,
        unsent: usize,
        queued: impl FnOnce() -> Option<u32>,
        now: u32,
    ) -> Look {
        let Some(times) = self.times() else {
            return Look::default();
        };
        let moves = traffic.look(unsent > 0);
        let queued = if unsent > 0 { queued() } else { None };
        let before = self.queued.replace(queued.unwrap_or(0));
        let taken = queued.is_some_and(|queued| queued != before);
        if moves.moved || taken {
            self.moved.set(now);
        }
        if moves.flowed || taken {
            self.stalled.set(now);
        }
        Look {
            shortest: times.shortest(),
            overdue: self.overdue(times, moves, unsent > 0, now),
        }
    }

    fn overdue(&self, times: TimeLimits, moves: Moves, waits: bool, now: u32) -> Option<Overdue> {
        let is_over =
            |limit: u32, since: &Cell<u32>| limit > 0 && now.wrapping_sub(since.get()) >= limit;
        if moves.shaking && is_over(times.handshake, &self.began) {
            Some(Overdue::Handshake)
        } else if !moves.heard && is_over(times.first_byte, &self.began) {
            Some(Overdue::FirstByte)
        } else if waits && is_over(times.write_stall, &self.stalled) {
            Some(Overdue::WriteStall)
        } else if is_over(times.idle, &self.moved) {
            Some(Overdue::Idle)
        } else {
            None
        }
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms = formatter.debug_struct("Terms");
        terms.field("times", &self.times()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TimeLimits = TimeLimits {
        first_byte: 100,
        handshake: 50,
        write_stall: 200,
        idle: 400,
    };

    fn terms(now: u32) -> (Terms, Traffic) {
        let terms = Terms::default();
        terms.set_times(Some(Arc::new(LIMITS)), now);
        (terms, Traffic::default())
    }

    #[test]
    fn a_silent_connection_is_overdue_at_its_limit() {
        let start = u32::MAX - 50; // The clock wraps around.
        let (terms, traffic) = terms(start);
        let look = |after: u32| {
            terms
                .look(&traffic, 0, || None, start.wrapping_add(after))
                .overdue
        };
        assert_eq!(look(99), None);
        assert_eq!(look(100), Some(Overdue::FirstByte));
        traffic.note_in();
        assert_eq!(look(120), None);
        assert_eq!(look(519), None);
        assert_eq!(look(520), Some(Overdue::Idle));
    }

    #[test]
    fn a_peer_that_takes_nothing_is_overdue() {
        let (terms, traffic) = terms(0);
        traffic.note_in();
        assert_eq!(terms.look(&traffic, 7, || None, 10).overdue, None);
        assert_eq!(terms.look(&traffic, 7, || None, 209).overdue, None);
        assert_eq!(
            terms.look(&traffic, 7, || None, 210).overdue,
            Some(Overdue::WriteStall)
        );
        traffic.note_out();
        assert_eq!(terms.look(&traffic, 5, || None, 220).overdue, None);
        assert_eq!(
            terms.look(&traffic, 5, || None, 420).overdue,
            Some(Overdue::WriteStall)
        );
        assert_eq!(terms.look(&traffic, 0, || None, 430).overdue, None);
    }

    #[test]
    fn a_peer_that_takes_what_the_kernel_has_is_not_overdue() {
        let (terms, traffic) = terms(0);
        traffic.note_in();
        let look = |queued, now| terms.look(&traffic, 7, || Some(queued), now).overdue;
        assert_eq!(look(900, 10), None);
        assert_eq!(look(800, 190), None);
        assert_eq!(look(700, 380), None);
        assert_eq!(look(700, 579), None);
        assert_eq!(look(700, 580), Some(Overdue::WriteStall));
    }

    #[test]
    fn a_handshake_is_overdue_although_bytes_move() {
        let (terms, traffic) = terms(0);
        traffic.begin_handshake();
        traffic.note_in();
        assert_eq!(terms.look(&traffic, 0, || None, 49).overdue, None);
        traffic.note_out();
        assert_eq!(
            terms.look(&traffic, 0, || None, 50).overdue,
            Some(Overdue::Handshake)
        );
        traffic.end_handshake();
        assert_eq!(terms.look(&traffic, 0, || None, 51).overdue, None);
    }

    #[test]
    fn without_limits_nothing_is_overdue() {
        let terms = Terms::default();
        let look = terms.look(&Traffic::default(), 1, || None, 1 << 31);
        assert_eq!((look.shortest, look.overdue), (0, None));
        assert!(!terms.is_accepted());
    }
}
