//! Stand-ins for the system.

pub(crate) mod clock {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Ticks once for each reading. Of the standard library, not of loom: a clock orders nothing.
    static TICKS: AtomicU64 = AtomicU64::new(1);

    pub(crate) fn monotonic_ns() -> u64 {
        TICKS.fetch_add(1, Ordering::Relaxed)
    }
}

pub(crate) mod thread {
    pub(crate) fn current_thread() -> u64 {
        1
    }
}

pub(crate) mod nap {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    loom::lazy_static! {
        static ref NEWS: AtomicU32 = AtomicU32::new(0);
        static ref KERNEL: Mutex<()> = Mutex::new(());
        static ref CHANGED: Condvar = Condvar::new();
    }

    /// The real one's accesses to its counter. Its futex is a lock and a condition, its limit never ends it, and there
    /// is one for all: loom's atomics cannot be constants.
    #[derive(Debug)]
    pub(crate) struct Nap;

    impl Nap {
        pub(crate) const fn new() -> Self {
            Self
        }

        pub(crate) fn news(&self) -> u32 {
            NEWS.load(Ordering::Acquire)
        }

        pub(crate) fn sleep(&self, news: u32, _limit: Option<Duration>) {
            let mut kernel = KERNEL.lock().unwrap();
            while NEWS.load(Ordering::Relaxed) == news {
                kernel = CHANGED.wait(kernel).unwrap();
            }
        }

        pub(crate) fn end(&self) {
            NEWS.fetch_add(1, Ordering::Release);
            drop(KERNEL.lock().unwrap());
            CHANGED.notify_all();
        }
    }
}
