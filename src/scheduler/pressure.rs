//! How near the bytes that wait to be sent, over all transports of a loop, are to the bound that was set for them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::meters::Meter;
use crate::driver::{READ, Slot};
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What accepted connections do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    None = 0,
    /// Half of the bound is reached: a connection whose bytes wait, here or in the kernel, gets no more of them; while
    /// they wait here, it is not read.
    High = 1,
    /// Nearly all: none is read.
    Full = 2,
}

/// Only the loop's thread changes it.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// In bytes; 0 without a bound.
    bound: Meter,
    /// A [`Level`]. Relaxed, as only the loop's thread uses it.
    level: AtomicU8,
    /// Whether the level has risen, and nothing looks at all connections yet. Relaxed, as `level`.
    has_risen: AtomicBool,
    /// The connections that wait to be read, by the addresses of their slots: one may wait again before the level falls.
    waiting: Mutex<HashMap<usize, Arc<Slot>>>,
}

impl Pressure {
    #[inline]
    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::None,
            1 => Level::High,
            _ => Level::Full,
        }
    }

    /// Sets the bound; 0 for none. `total` is how much waits.
    pub(crate) fn set_bound(&self, bound: u64, total: u64) {
        self.bound.set(bound);
        self.changed(total);
    }

    /// The total has changed.
    #[inline]
    pub(crate) fn update(&self, total: u64) {
        if self.bound.get() != 0 {
            self.changed(total);
        }
    }

    #[cold]
    fn changed(&self, total: u64) {
        let before = self.level();
        let level = level_of(total, self.bound.get(), before);
        if level == before {
            return;
        }
        self.level.store(level as u8, Ordering::Relaxed);
        if before == Level::None {
            self.has_risen.store(true, Ordering::Relaxed);
        }
        if level < before {
            let waiting = std::mem::take(&mut *self.waiting());
            for slot in waiting.into_values() {
                slot.wake(READ);
            }
        }
    }

    /// Whether the level has risen from nothing since the last call.
    pub(crate) fn take_risen(&self) -> bool {
        self.has_risen.swap(false, Ordering::Relaxed)
    }

    /// Has `slot` fired when the pressure falls; `false` if there is no memory for that.
    pub(crate) fn wait(&self, slot: &Arc<Slot>) -> bool {
        let mut waiting = self.waiting();
        let has_room = waiting.try_reserve(1).is_ok();
        if has_room {
            waiting.insert(address(slot), Arc::clone(slot));
        }
        has_room
    }

    /// The connection is no more.
    pub(crate) fn forget(&self, slot: &Arc<Slot>) {
        if self.bound.get() != 0 {
            let mut waiting = self.waiting();
            // Mostly so, and hashing costs more than all the rest.
            if waiting.is_empty() {
                return;
            }
            let gone = waiting.remove(&address(slot));
            drop(waiting);
            drop(gone);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<usize, Arc<Slot>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(slot: &Arc<Slot>) -> usize {
    Arc::as_ptr(slot).addr()
}

/// The level rises at a half and at fifteen sixteenths of the bound, so that what one callback writes still fits; it
/// falls at an eighth of the bound less, so that it does not go up and down with each message.
fn level_of(total: u64, bound: u64, before: Level) -> Level {
    if bound == 0 {
        return Level::None;
    }
    let (high, full) = (bound / 2, bound - bound / 16);
    let less = bound / 8;
    let stays = |level, mark: u64| before >= level && total > mark - less;
    if total >= full || stays(Level::Full, full) {
        Level::Full
    } else if total >= high || stays(Level::High, high) {
        Level::High
    } else {
        Level::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::ReadyList;

    #[test]
    fn the_level_rises_and_falls_at_different_marks() {
        let pressure = Pressure::default();
        pressure.update(1 << 40);
        assert_eq!(pressure.level(), Level::None);
        pressure.set_bound(1600, 0);
        for (total, level) in [
            (799, Level::None),
            (800, Level::High),
            (601, Level::High),
            (600, Level::None),
            (1499, Level::High),
            (1500, Level::Full),
            (1301, Level::Full),
            (1300, Level::High),
            (1600, Level::Full),
            (0, Level::None),
        ] {
            pressure.update(total);
            assert_eq!(pressure.level(), level, "{total}");
        }
    }

    #[test]
    fn what_waits_is_fired_when_the_level_falls() {
        let list = Arc::new(ReadyList::default());
        let slot = Slot::new(Arc::clone(&list), 1);
        let pressure = Pressure::default();
        pressure.set_bound(1600, 1600);
        assert!(pressure.wait(&slot) && pressure.wait(&slot));
        assert_eq!(pressure.waiting().len(), 1);
        let gone = Slot::new(Arc::clone(&list), 2);
        assert!(pressure.wait(&gone));
        pressure.forget(&gone);
        assert_eq!(Arc::strong_count(&gone), 1);
        pressure.update(1500);
        assert!(list.is_empty());
        pressure.update(1000);
        assert!(!list.is_empty());
        pressure.set_bound(0, 1 << 40);
        assert_eq!(pressure.level(), Level::None);
    }
}
