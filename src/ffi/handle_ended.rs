//! Notifies threads that wait for a callback to end.

use std::sync::{Condvar, Mutex, PoisonError};

/// Announces every callback that ends while another thread waits for one. Such waits are rare, so all share it.
pub(super) static ENDED: Ended = Ended {
    count: Mutex::new(0),
    changed: Condvar::new(),
};

#[derive(Debug)]
pub(super) struct Ended {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Ended {
    pub(super) fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    pub(super) fn announce(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Waits for the next announcement after the count was `seen`.
    pub(super) fn wait(&self, seen: u64) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.changed.wait_while(count, |count| *count == seen);
        drop(changed.unwrap_or_else(PoisonError::into_inner));
    }
}
