//! One poll of the kernel, as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::ready_list::ReadyList;

/// Pending on its first poll and ready on the second; in between, the runtime polls the kernel.
pub(super) struct Look<'a, W> {
    ready: &'a ReadyList,
    wait: W,
    polled: bool,
}

impl<'a, W> Look<'a, W> {
    /// The runtime waits for an event if `wait` returns true and nothing is ready.
    pub(super) fn new(ready: &'a ReadyList, wait: W) -> Self {
        Self {
            ready,
            wait,
            polled: false,
        }
    }
}

impl<W: Fn() -> bool> Future for Look<'_, W> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.polled {
            return Poll::Ready(());
        }
        this.polled = true;
        this.ready.set_turn(context.waker());
        // tokio may discard a wake sent before `block_on` polls, but its sender has already queued the slot: check
        // the list.
        if !(this.wait)() || !this.ready.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

// No field is structurally pinned.
impl<W> Unpin for Look<'_, W> {}
