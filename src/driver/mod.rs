//! The reactor: tokio's runtime, driven on the loop's own thread.
//!
//! This is the only room that names `tokio`. It handles descriptors, wakers and deadlines, but never Python objects,
//! because wakers run while the thread is detached from Python.

mod edge;
mod look;
mod ready_list;
mod registration;
mod slot_wakers;
mod timer;
mod turn_waker;
mod waker;

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};

use self::look::Look;
use crate::sys;
use crate::sys::fork::Generation;

pub(crate) use ready_list::{READ, ReadyList, Slot, WRITE};
pub(crate) use registration::{Direction, Registration, is_inherited};
pub(crate) use timer::Timer;
pub(crate) use waker::{WAKERS, lend, wake};

/// One loop's tokio runtime. It has no worker threads: the thread inside `block_on` drives I/O and time.
pub(crate) struct Driver {
    /// `None` once `drop` has taken it.
    runtime: Option<Runtime>,
    ready: Arc<ReadyList>,
    /// Undoes `park` when a wait fails.
    unpark: Arc<dyn Fn() + Send + Sync>,
    /// Why the kernel refused to wait. Once set, there is no reactor any more.
    failed: OnceLock<Failure>,
    made_in: Generation,
}

/// The error of a failed `look`.
struct Failure {
    number: Option<i32>,
    text: String,
}

impl Driver {
    /// Creates a runtime that calls `park` before a wait and `unpark` afterwards, both on the waiting thread. Its
    /// wakers push ready slots to `ready`.
    pub(crate) fn new(
        ready: Arc<ReadyList>,
        park: impl Fn() + Send + Sync + 'static,
        unpark: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        edge::silence();
        let unpark: Arc<dyn Fn() + Send + Sync> = Arc::new(unpark);
        let unparked = Arc::clone(&unpark);
        let runtime = edge::guarded(|| {
            Builder::new_current_thread()
                .enable_all()
                .on_thread_park(park)
                .on_thread_unpark(move || unparked())
                .build()
        })??;
        Ok(Self {
            runtime: Some(runtime),
            ready,
            unpark,
            failed: OnceLock::new(),
            made_in: Generation::current(),
        })
    }

    /// Whether this reactor belongs to the parent of this forked process, which must not touch it.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.made_in.is_over()
    }

    /// Whether this thread may call `look`: inside another runtime, tokio would panic.
    pub(crate) fn may_look() -> bool {
        Handle::try_current().is_err()
    }

    /// Polls the kernel once and calls the wakers of what is ready. Waits for an event if `wait` returns true; `wait`
    /// is called once, at a point from which no wake is missed.
    ///
    /// Returns the kernel's error, and so does every later call.
    #[inline]
    pub(crate) fn look(&self, wait: impl Fn() -> bool) -> io::Result<()> {
        let runtime = self.runtime()?;
        let looked = edge::guarded(|| {
            runtime.block_on(Look::new(&self.ready, wait));
        });
        looked.map_err(|error| self.fail(error))
    }

    /// Checks that the descriptors still belong to the reactor, before they are closed.
    pub(crate) fn check(&self) {
        if !self.is_inherited() && Self::may_look() {
            // Ignored: `fail` records the error.
            let _ = self.look(|| false);
        }
    }

    /// The wait was aborted: attaches this thread to Python again. tokio has already closed its set.
    #[cold]
    fn fail(&self, error: io::Error) -> io::Error {
        (self.unpark)();
        // Nothing becomes ready any more, and a wake must not be written to a number that may belong to another file
        // now.
        self.ready.forget_turn();
        self.ready.set_lost(sys::is_of_another_file(&error));
        let failure = Failure {
            number: error.raw_os_error(),
            text: error.to_string(),
        };
        self.failed.get_or_init(|| failure);
        error
    }

    /// The runtime, or an error if it has failed or was shut down.
    #[inline]
    fn runtime(&self) -> io::Result<&Runtime> {
        if let Some(failure) = self.failed.get() {
            return Err(failure.error());
        }
        self.runtime.as_ref().ok_or_else(shut_down)
    }

    /// Watches `fd` for `direction`. Wakes put its slot, marked with `key`, on the ready list.
    ///
    /// The descriptor must stay open until the registration is dropped.
    pub(crate) fn register(
        &self,
        fd: RawFd,
        direction: Direction,
        key: u64,
    ) -> io::Result<Registration> {
        let _inside = self.runtime()?.enter();
        Registration::new(fd, direction, Slot::new(Arc::clone(&self.ready), key))
    }

    /// A slot without a descriptor; its wakes carry `key`.
    fn slot(&self, key: u64) -> Arc<Slot> {
        Slot::new(Arc::clone(&self.ready), key)
    }

    /// Watches for both directions from now on. Slot and key stay the same, but each direction must be armed again.
    pub(crate) fn widen(&self, registration: Registration) -> io::Result<Registration> {
        let _inside = self.runtime()?.enter();
        // Deregisters first, as the reactor accepts a descriptor only once.
        let (fd, slot) = registration.into_parts();
        Registration::new(fd, Direction::Both, slot)
    }

    /// In a forked child: registers the descriptor of an inherited registration on this reactor.
    pub(crate) fn renew(&self, registration: &Registration) -> io::Result<()> {
        let _inside = self.runtime()?.enter();
        registration.renew()
    }

    /// A handle with which tokio's timers and sockets find the runtime; `None` after shutdown.
    pub(crate) fn inside(&self) -> Option<Inside> {
        let runtime = self.runtime().ok()?;
        Some(Inside(runtime.handle().clone()))
    }
}

/// Shuts the reactor down without waiting for anything.
impl Drop for Driver {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if self.is_inherited() {
            // Another of the parent's threads may have held one of its locks during the fork.
            mem::forget(runtime);
        } else {
            if self.ready.is_lost() {
                // The numbers of its descriptors may belong to other files by now.
                mem::forget(runtime);
            } else {
                // Ignored: a panic here means that the reactor is gone already.
                let _ = edge::guarded(|| runtime.shutdown_background());
            }
            self.ready.forget_turn();
            self.ready.close();
        }
    }
}

/// A handle to enter the runtime.
#[derive(Debug)]
pub(crate) struct Inside(Handle);

impl Inside {
    /// Runs `call` inside the runtime, where tokio finds it.
    pub(crate) fn call<R>(&self, call: impl FnOnce() -> R) -> R {
        let _inside = self.0.enter();
        call()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Driver")
            .field("open", &self.runtime.is_some())
            .finish_non_exhaustive()
    }
}

impl Failure {
    fn error(&self) -> io::Error {
        match self.number {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(self.text.clone()),
        }
    }
}

fn shut_down() -> io::Error {
    io::Error::other("the reactor is shut down")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::sys::clock::monotonic_ns;

    const THREADS: usize = 3;
    const WAKES: usize = 2_000;
    /// The key of the timer that fires if a wake was lost.
    const LATE: u64 = 1;
    const PATIENCE_NS: u64 = 30_000_000_000;

    #[test]
    fn every_wake_of_another_thread_ends_the_wait() {
        let ready = Arc::new(ReadyList::default());
        let driver = Driver::new(Arc::clone(&ready), || {}, || {}).unwrap();
        let timer = Timer::new(&driver, LATE).unwrap();
        timer.arm(monotonic_ns() + PATIENCE_NS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..WAKES {
                        wake(&Slot::new(Arc::clone(&ready), 0));
                        thread::yield_now(); // So that the reactor may have to wait.
                    }
                });
            }
            let mut seen = 0;
            while seen < THREADS * WAKES {
                driver.look(|| true).unwrap();
                ready.drain(|slot| {
                    assert_ne!(slot.key(), LATE, "the reactor was not woken: {seen}");
                    assert_eq!(slot.take(), READ);
                    seen += 1;
                });
            }
        });
        drop(timer);
        drop(driver);
        assert_eq!(Arc::strong_count(&ready), 1);
    }
}
