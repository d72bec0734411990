//! Detects that the process has forked.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use super::platform::close_sets_that_watch;

/// Identifies one process in a chain of forks: a child's generation differs from its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

/// The number of forks between the first process and this one. A child writes it while it has only one thread, so
/// Relaxed is enough for all readers.
static FORKS: AtomicU32 = AtomicU32::new(0);

impl Generation {
    /// The generation of this process. Counts every fork after the first call, including those that Python does not
    /// make.
    pub(crate) fn current() -> Self {
        static COUNTED: Once = Once::new();
        COUNTED.call_once(|| {
            // SAFETY: the handler only touches one atomic, which is safe in a child of any process, and this library
            // is never unloaded. Ignored if it fails: it does so only without memory, where a fork fails too.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether the process has forked since: objects of this generation belong to the parent.
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        self.0 != FORKS.load(Ordering::Relaxed)
    }
}

/// Reports a fork to the child once.
#[derive(Debug)]
pub(crate) struct ForkNotice(AtomicU32);

impl Default for ForkNotice {
    fn default() -> Self {
        Self(AtomicU32::new(Generation::current().0))
    }
}

impl ForkNotice {
    /// Whether the process has forked since the last call, or since this was created; if so, the caller is in the
    /// child.
    pub(crate) fn is_news(&self) -> bool {
        let now = Generation::current().0;
        self.0.swap(now, Ordering::Relaxed) != now
    }
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
