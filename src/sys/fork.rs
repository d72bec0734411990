//! Which process of a line of forks this is.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use super::platform::close_sets_that_watch;

/// One process: a forked child, and what is made in it, is of another than its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

/// Forks between the first process and this one. Written by a child while it has one thread only, so
/// Relaxed is enough for everybody.
static FORKS: AtomicU32 = AtomicU32::new(0);

impl Generation {
    /// This process's. Every fork is noticed from the first call on, also one that Python does not make.
    pub(crate) fn current() -> Self {
        static COUNTED: Once = Once::new();
        COUNTED.call_once(|| {
            // SAFETY: the handler touches one atomic, which is safe in a child of any process, and this
            // library is never unloaded. Ignored where it fails, for want of memory: nothing forks then.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether a fork lies between: what belongs to this generation is the parent's.
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        self.0 != FORKS.load(Ordering::Relaxed)
    }
}

/// Tells a forked child once that it is one.
#[derive(Debug)]
pub(crate) struct ForkNotice(AtomicU32);

impl Default for ForkNotice {
    fn default() -> Self {
        Self(AtomicU32::new(Generation::current().0))
    }
}

impl ForkNotice {
    /// Whether there was a fork since the last call, or since this was made: the caller is in the child.
    pub(crate) fn is_news(&self) -> bool {
        let now = Generation::current().0;
        self.0.swap(now, Ordering::Relaxed) != now
    }
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
