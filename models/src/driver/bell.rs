//! Stands in for tokio's runtime, whose wait a waker ends.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use loom::sync::{Condvar, Mutex};

use super::ReadyList;
use super::look::Look;

#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// As `Driver::look`: polls once, and returns when the turn is woken, which `wait` or the list may do at once.
pub(crate) fn look(ready: &ReadyList, bell: &Arc<Bell>, wait: impl Fn() -> bool) {
    // `block_on` discards what came before it polls.
    *bell.rung.lock().unwrap() = false;
    let waker = Waker::from(Arc::clone(bell));
    let look = pin!(Look::new(ready, wait));
    assert!(look.poll(&mut Context::from_waker(&waker)).is_pending());
    let mut rung = bell.rung.lock().unwrap();
    while !*rung {
        rung = bell.changed.wait(rung).unwrap();
    }
}
