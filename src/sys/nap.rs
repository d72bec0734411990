//! A sleep that other threads end. Without a lock, so that a fork leaves nothing locked in the child.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::platform::{wait_while, wake_all};

/// Counts what happens, so that a thread sleeps only if nothing has happened since it last looked. Several threads may
/// sleep here: none takes the news from another.
#[derive(Debug)]
pub(crate) struct Nap(AtomicU32);

impl Nap {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// What `sleep` takes; asked before the look at what the sleep is for.
    pub(crate) fn news(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Sleeps until there is `end` after the call that returned `news`, or for at most `limit`. Sometimes shorter.
    pub(crate) fn sleep(&self, news: u32, limit: Option<Duration>) {
        wait_while(&self.0, news, limit);
    }

    /// Ends all sleeps that have begun, or will with older news.
    pub(crate) fn end(&self) {
        self.0.fetch_add(1, Ordering::Release);
        wake_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn each_end_is_seen_by_all_that_sleep() {
        let (nap, rounds) = (Arc::new(Nap::new()), 1000);
        let seen: Vec<_> = (0..2).map(|_| Arc::new(AtomicU32::new(0))).collect();
        let threads: Vec<_> = seen
            .iter()
            .map(|seen| {
                let (nap, seen) = (Arc::clone(&nap), Arc::clone(seen));
                thread::spawn(move || {
                    while seen.load(Ordering::Relaxed) < rounds {
                        let news = nap.news();
                        if news == seen.load(Ordering::Relaxed) {
                            nap.sleep(news, None);
                        } else {
                            seen.store(news, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for round in 1..=rounds {
            nap.end();
            while seen.iter().any(|seen| seen.load(Ordering::Relaxed) < round) {
                thread::yield_now();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_sleep_has_a_limit() {
        let nap = Nap::new();
        nap.sleep(nap.news(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn an_end_before_the_sleep_counts() {
        let nap = Nap::new();
        let news = nap.news();
        nap.end();
        nap.sleep(news, None);
    }
}
