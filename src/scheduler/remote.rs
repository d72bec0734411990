//! The part of a loop that threads can use without being attached to Python.

use std::fmt;
use std::sync::mpsc::SendError;
use std::sync::{Arc, PoisonError};

use crate::driver::{Slot, wake};
use crate::ffi::pollable::Completion;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::mpsc::{self, Receiver, Sender};

/// Queues completions for the loop's thread, from any thread, without a lock and without the GIL.
pub(crate) struct Remote {
    slot: Arc<Slot>,
    sender: Sender<Completion>,
    /// Locked by the loop's thread, and by any thread that finds the loop closed.
    receiver: Mutex<Receiver<Completion>>,
    /// The loop runs no more completions. With the queue, Dekker's algorithm: a sender queues, then loads this flag;
    /// closing sets the flag, then empties the queue. The fences between do not rely on the orderings inside the queue.
    closed: AtomicBool,
}

impl Remote {
    /// Its calls wake the loop through `slot`.
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            slot,
            sender,
            receiver: Mutex::new(receiver),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Ends the loop's wait, or prevents the next one; `false` when the loop is closed.
    pub(crate) fn wake(&self) -> bool {
        wake(&self.slot);
        !self.is_closed()
    }

    /// Runs the completion in a later turn; returns it when the loop is closed.
    pub(crate) fn submit(&self, completion: Completion) -> Result<(), Completion> {
        if self.is_closed() {
            return Err(completion);
        }
        self.sender
            .send(completion)
            .map_err(|SendError(completion)| completion)?;
        wake(&self.slot);
        fence(Ordering::SeqCst);
        if self.is_closed() {
            self.call_off();
        }
        Ok(())
    }

    /// Drops what is queued, and rejects later completions.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.call_off();
    }

    /// Has the loop's thread take more in a later turn.
    pub(super) fn go_on(&self) {
        wake(&self.slot);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn call_off(&self) {
        while let Some(completion) = self.take() {
            drop(completion); // Dropping it notifies its owner.
        }
    }

    /// The next completion; the lock is released before it runs.
    pub(super) fn take(&self) -> Option<Completion> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.try_recv().ok()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Remote")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
