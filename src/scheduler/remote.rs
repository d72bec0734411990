//! A loop as threads know it that are not attached to Python.

mod calls;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::{Slot, wake};
use crate::ffi::pollable::Completion;

/// Takes calls for the loop's thread, from any thread, without a lock and without the GIL.
pub(crate) struct Remote {
    slot: Arc<Slot>,
    sender: Sender<Completion>,
    /// Locked by the loop's thread, and by whoever finds the loop closed.
    receiver: Mutex<Receiver<Completion>>,
    /// Nobody will run what is sent. With the queue a pair in Dekker's manner, by sequentially consistent
    /// accesses: who sends looks here afterwards, who closes empties the queue afterwards.
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

    /// Ends the loop's wait, or keeps it from starting one; `false` when it is closed.
    pub(crate) fn wake(&self) -> bool {
        wake(&self.slot);
        !self.is_closed()
    }

    /// Has the call made in a coming turn; gives it back when the loop is closed.
    pub(crate) fn submit(&self, completion: Completion) -> Result<(), Completion> {
        if self.is_closed() {
            return Err(completion);
        }
        self.sender
            .send(completion)
            .map_err(|mpsc::SendError(completion)| completion)?;
        wake(&self.slot);
        if self.is_closed() {
            self.call_off();
        }
        Ok(())
    }

    /// Calls off what is left, and refuses what comes.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.call_off();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn call_off(&self) {
        while let Some(completion) = self.take() {
            drop(completion); // Tells its owner.
        }
    }

    /// The next call; the lock is free again when it is made.
    fn take(&self) -> Option<Completion> {
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
