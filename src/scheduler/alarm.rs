//! Wakes the thread that watches a loop, when the loop has something to do.

use crate::sync::atomic::{AtomicU8, Ordering, fence};
use crate::sys::nap::Nap;

/// Where the watching thread of the process sleeps; for a moment there may be two, when one ends and another begins.
pub(crate) static WATCHERS_NAP: Nap = Nap::new();

/// Whether a loop is watched, and whether the thread that watches it sleeps.
#[derive(Debug, Default)]
pub(crate) struct Alarm(AtomicU8);

const UNWATCHED: u8 = 0;
const AWAKE: u8 = 1;
const ASLEEP: u8 = 2;

impl Alarm {
    /// The loop begins to do something. Called after it has said so in its phases.
    #[inline]
    pub(super) fn busy(&self) {
        if self.0.load(Ordering::Relaxed) != UNWATCHED {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        // Either this sees the watching thread asleep, or that thread, which looks at the phases again before it
        // sleeps, sees the loop busy.
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) == ASLEEP {
            self.0.store(AWAKE, Ordering::Relaxed);
            WATCHERS_NAP.end();
        }
    }

    /// The loop is watched from now on, by a thread that is awake.
    pub(crate) fn watch(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// The watching thread is about to sleep. It looks at the phases again before it does.
    pub(crate) fn fall_asleep(&self) {
        self.0.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The loop is not watched any more.
    pub(crate) fn cease(&self) {
        self.0.store(UNWATCHED, Ordering::Relaxed);
    }
}
