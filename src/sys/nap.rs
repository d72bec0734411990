//! A sleep that other threads end. Without a lock, so that a fork leaves nothing locked in the child.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::platform::{wait_while, wake_all};

/// One thread sleeps here at a time.
#[derive(Debug)]
pub(crate) struct Nap(AtomicU32);

const UNDISTURBED: u32 = 0;
const ENDED: u32 = 1;

impl Nap {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(UNDISTURBED))
    }

    /// Sleeps until `end`, which may have been called since the last sleep, or for at most `limit`. Sometimes shorter.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        if self.0.load(Ordering::Acquire) == UNDISTURBED {
            wait_while(&self.0, UNDISTURBED, limit);
        }
        // What was written before `end` is seen after it.
        self.0.swap(UNDISTURBED, Ordering::Acquire);
    }

    /// Ends the sleep, or the next one.
    pub(crate) fn end(&self) {
        if self.0.swap(ENDED, Ordering::Release) == UNDISTURBED {
            wake_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn each_sleep_ends() {
        let (mine, others) = (Arc::new(Nap::new()), Arc::new(Nap::new()));
        let thread = {
            let (mine, others) = (Arc::clone(&others), Arc::clone(&mine));
            thread::spawn(move || {
                for _ in 0..1000 {
                    mine.sleep(None);
                    others.end();
                }
            })
        };
        for _ in 0..1000 {
            others.end();
            mine.sleep(None);
        }
        thread.join().unwrap();
    }

    #[test]
    fn a_sleep_has_a_limit() {
        Nap::new().sleep(Some(Duration::from_millis(1)));
    }

    #[test]
    fn an_end_before_the_sleep_counts() {
        let nap = Nap::new();
        nap.end();
        nap.sleep(None);
    }
}
