//! Which connections come in: how many at once and how fast, to one server and to the whole loop.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::limits::TimeLimits;
use crate::driver::{READ, Slot};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::sys::clock::monotonic_ns;

/// The limits of a server, or of a loop, for what it accepts; and how many connections are open.
///
/// Only the loop's thread lets connections in. They may leave on any thread, as objects do that the collector frees.
#[derive(Debug)]
pub(crate) struct Gate {
    /// `usize::MAX` without a limit. Relaxed, like `interval_ns` and `next_ns`: only the loop's thread uses it.
    most: AtomicUsize,
    /// With `waiting`'s lock: one that leaves counts down, then takes the lock and wakes; one that waits takes the
    /// lock, looks at the count, then waits.
    open: AtomicUsize,
    /// Nanoseconds from one connection to the next at the highest rate; 0 without a limit.
    interval_ns: AtomicU64,
    /// When the next connection would come at that rate, on the monotonic clock.
    next_ns: AtomicU64,
    /// The listeners that accept no more until a connection leaves.
    waiting: Mutex<Vec<Arc<Slot>>>,
    /// Of connections that come in; `None` without any.
    times: Mutex<Option<Arc<TimeLimits>>>,
    /// Whether there are some. Relaxed: the loop's thread alone asks.
    has_times: AtomicBool,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            most: AtomicUsize::new(usize::MAX),
            open: AtomicUsize::new(0),
            interval_ns: AtomicU64::new(0),
            next_ns: AtomicU64::new(0),
            waiting: Mutex::default(),
            times: Mutex::default(),
            has_times: AtomicBool::new(false),
        }
    }
}

impl Gate {
    /// Sets the limits; `most` and `rate`, in connections a second, are `None` without one.
    pub(crate) fn set(&self, most: Option<usize>, rate: Option<f64>, times: Option<TimeLimits>) {
        self.most
            .store(most.unwrap_or(usize::MAX), Ordering::Relaxed);
        let interval = rate.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)
        });
        let interval = nanoseconds(interval);
        if self.interval_ns.swap(interval, Ordering::Relaxed) != interval {
            self.next_ns.store(0, Ordering::Relaxed); // It was by the former rate.
        }
        self.has_times.store(times.is_some(), Ordering::Relaxed);
        *locked(&self.times) = times.map(Arc::new);
        self.wake();
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn times(&self) -> Option<Arc<TimeLimits>> {
        if !self.has_times.load(Ordering::Relaxed) {
            return None;
        }
        locked(&self.times).clone()
    }

    /// Whether there is no room. Then `slot` is fired once there is.
    fn is_full(&self, slot: &Arc<Slot>) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        if self.open.load(Ordering::SeqCst) < most {
            return false;
        }
        let mut waiting = locked(&self.waiting);
        if self.open.load(Ordering::SeqCst) < most {
            return false;
        }
        if waiting.iter().any(|other| Arc::ptr_eq(other, slot)) {
            return true;
        }
        // Without memory, one more is let in: a listener that nothing fires again would be worse.
        let has_room = waiting.try_reserve(1).is_ok();
        if has_room {
            waiting.push(Arc::clone(slot));
        }
        has_room
    }

    /// How long the rate has a connection wait.
    fn wait(&self, now_ns: u64) -> u64 {
        if self.interval_ns.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let next = self.next_ns.load(Ordering::Relaxed);
        next.saturating_sub(now_ns.saturating_add(AHEAD_NS))
    }

    fn come(&self, now_ns: u64) {
        self.open.fetch_add(1, Ordering::SeqCst);
        let interval = self.interval_ns.load(Ordering::Relaxed);
        if interval > 0 {
            let next = self.next_ns.load(Ordering::Relaxed).max(now_ns);
            self.next_ns
                .store(next.saturating_add(interval), Ordering::Relaxed);
        }
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        if self.most.load(Ordering::Relaxed) != usize::MAX {
            self.wake();
        }
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *locked(&self.waiting));
        for slot in waiting {
            slot.wake(READ);
        }
    }
}

/// What a listener's connections pass: the gate of its server, then that of the loop.
#[derive(Debug)]
pub(crate) struct Door {
    server: Arc<Gate>,
    whole: Arc<Gate>,
}

/// What a listener does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Accept, and pass this to [`Door::admit`]: the time, where a rate is limited, in nanoseconds.
    Accept(u64),
    /// Wait for a connection to leave.
    Full,
    /// Accept again that much later.
    Later(Duration),
}

impl Door {
    pub(crate) fn new(server: Arc<Gate>, whole: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { server, whole })
    }

    /// Whether a connection may be accepted. If there is no room, `slot` is fired once there is.
    #[inline]
    pub(crate) fn ask(&self, slot: &Arc<Slot>) -> Entry {
        let gates = [&self.server, &self.whole];
        if gates.iter().any(|gate| gate.is_full(slot)) {
            return Entry::Full;
        }
        let is_limited = gates.map(|gate| gate.interval_ns.load(Ordering::Relaxed) > 0);
        if !is_limited.contains(&true) {
            return Entry::Accept(0);
        }
        let now = monotonic_ns();
        match gates.map(|gate| gate.wait(now)).into_iter().max() {
            None | Some(0) => Entry::Accept(now),
            Some(wait) => Entry::Later(Duration::from_nanos(wait)),
        }
    }

    /// A connection was accepted.
    pub(crate) fn admit(self: &Arc<Self>, now: u64) -> Admission {
        self.server.come(now);
        self.whole.come(now);
        Admission(Arc::clone(self))
    }
}

/// An open connection, which leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Door>);

impl Admission {
    /// The time limits of such a connection: the server's, else the loop's.
    pub(crate) fn times(&self) -> Option<Arc<TimeLimits>> {
        self.0.server.times().or_else(|| self.0.whole.times())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.server.leave();
        self.0.whole.leave();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How far ahead of its rate a burst of connections may be: a twentieth of a second.
const AHEAD_NS: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::ReadyList;

    fn door() -> (Arc<Gate>, Arc<Door>, Arc<Slot>) {
        let gate = Arc::new(Gate::default());
        let door = Door::new(Arc::clone(&gate), Arc::default());
        (gate, door, Slot::new(Arc::default(), 1))
    }

    #[test]
    fn a_full_server_waits_for_one_that_leaves() {
        let list = Arc::new(ReadyList::default());
        let (gate, door, _) = door();
        let slot = Slot::new(Arc::clone(&list), 1);
        gate.set(Some(2), None, None);
        let (first, second) = (door.admit(0), door.admit(0));
        assert_eq!(door.ask(&slot), Entry::Full);
        assert!(list.is_empty());
        drop(first);
        assert!(!list.is_empty());
        assert_eq!(door.ask(&slot), Entry::Accept(0));
        assert_eq!(gate.open(), 1);
        drop(second);
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn a_higher_limit_wakes_who_waits() {
        let list = Arc::new(ReadyList::default());
        let (gate, door, _) = door();
        let slot = Slot::new(Arc::clone(&list), 1);
        gate.set(Some(0), None, None);
        assert_eq!(door.ask(&slot), Entry::Full);
        gate.set(None, None, None);
        assert!(!list.is_empty());
        assert_eq!(door.ask(&slot), Entry::Accept(0));
    }

    #[test]
    fn a_rate_lets_a_short_burst_in_and_then_waits() {
        let (gate, door, slot) = door();
        gate.set(None, Some(100.0), None);
        let mut inside = Vec::new();
        while let Entry::Accept(now) = door.ask(&slot) {
            inside.push(door.admit(now));
        }
        assert!((5..=7).contains(&inside.len()), "{}", inside.len());
        let Entry::Later(wait) = door.ask(&slot) else {
            panic!("the rate is used up");
        };
        assert!(wait <= Duration::from_millis(10), "{wait:?}");
    }

    #[test]
    fn another_rate_does_not_wait_for_the_former_one() {
        let (gate, door, slot) = door();
        gate.set(None, Some(0.001), None);
        let first = door.admit(monotonic_ns());
        assert!(matches!(door.ask(&slot), Entry::Later(_)));
        gate.set(None, Some(0.001), None);
        assert!(matches!(door.ask(&slot), Entry::Later(_)));
        gate.set(None, Some(100.0), None);
        assert!(matches!(door.ask(&slot), Entry::Accept(_)));
        drop(first);
    }
}
