//! A queue that any thread fills and one thread empties, which may wait meanwhile.

use std::collections::TryReserveError;
use std::sync::PoisonError;

use crate::sync::Mutex;
#[cfg(Py_GIL_DISABLED)]
use crate::sync::atomic::fence;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A sender pushes first, then asks whether to wake. A wake from another thread writes to a descriptor, so it is sent
/// only if the reader has announced that it is about to wait; after that announcement, the reader checks the queue once
/// more (`park`).
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    letters: Mutex<Vec<T>>,
    /// The queue is not empty. Written under the lock, read without it.
    filled: AtomicBool,
    /// The reader waits or is about to. With `filled`, Dekker's algorithm: each side stores its flag, then loads the
    /// other's.
    parked: AtomicBool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            letters: Mutex::default(),
            filled: AtomicBool::new(false),
            parked: AtomicBool::new(false),
        }
    }
}

impl<T> Mailbox<T> {
    /// Queues a letter; `must_wake` must follow. Callable from any thread.
    pub(crate) fn push(&self, letter: T) -> Result<(), TryReserveError> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.try_reserve(1)?;
        letters.push(letter);
        self.filled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the reader waits, and this sender is the one to wake it. Callable from any thread that is attached to
    /// Python.
    #[inline]
    pub(crate) fn must_wake(&self) -> bool {
        // With the GIL, no fence is needed: the reader releases the GIL only after `park`.
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel)
    }

    /// The wake was lost: the next sender is to wake the reader.
    #[cold]
    pub(crate) fn wake_again(&self) {
        self.parked.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Lets `take` remove queued letters, in order; what it leaves stays queued.
    pub(crate) fn take(&self, take: impl FnOnce(&mut Vec<T>)) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut letters);
        self.filled.store(!letters.is_empty(), Ordering::Relaxed);
        if letters.is_empty() {
            // Bursts are rare, so free their memory.
            *letters = Vec::new();
        }
    }

    /// Announces that the reader is about to wait; `false` when it must not, because letters are queued.
    pub(crate) fn park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        if self.is_filled() {
            self.parked.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Whether the reader has not been woken since `park`.
    pub(crate) fn is_parked(&self) -> bool {
        // tokio may discard a wake sent before `block_on` polls. Its sender has already cleared `parked`; this load
        // must see that.
        #[cfg(Py_GIL_DISABLED)]
        fence(Ordering::SeqCst);
        self.parked.load(Ordering::Relaxed)
    }

    /// To be called after the wait.
    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// The queued letters, unless the lock is taken.
    pub(crate) fn peek(&self, each: impl FnMut(&T)) {
        if let Ok(letters) = self.letters.try_lock() {
            letters.iter().for_each(each);
        }
    }
}
