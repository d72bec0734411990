//! Ends the wait of the loop's thread.

use std::future::ready;
use std::task::Waker;

use tokio::runtime::Handle;

use super::edge;

/// The waker of a turn, which writes to a descriptor of the reactor.
pub(super) struct TurnWaker {
    waker: Waker,
    /// `None` where no runtime waits, as in unit tests.
    runtime: Option<Handle>,
    /// A write has failed. tokio may take the turn for woken since: its waker then writes nothing.
    failed: bool,
}

impl TurnWaker {
    /// Must be called inside the runtime.
    pub(super) fn new(waker: &Waker) -> Self {
        Self {
            waker: waker.clone(),
            runtime: Handle::try_current().ok(),
            failed: false,
        }
    }

    /// Returns whether the turn was woken. It was not if the descriptor cannot be written to: then the loop's next poll
    /// of the kernel may return an error, too.
    pub(super) fn wake(&mut self) -> bool {
        self.failed |= edge::guarded(|| self.waker.wake_by_ref()).is_err();
        !self.failed || self.wake_by_task()
    }

    /// For a new task, tokio writes in any case.
    #[cold]
    fn wake_by_task(&self) -> bool {
        match &self.runtime {
            Some(runtime) => edge::guarded(|| drop(runtime.spawn(ready(())))).is_ok(),
            None => false,
        }
    }
}
