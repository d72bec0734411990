//! The reactor: tokio's runtime, driven on the loop's own thread.
//!
//! The only room that names `tokio`. It knows descriptors, wakers and deadlines; Python objects never
//! come here, because wakers fire while the thread is detached from Python.

mod edge;
mod ready_list;
mod registration;
mod timer;
mod waker;

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::sys;
use crate::sys::fork::Generation;

pub(crate) use ready_list::{READ, ReadyList, Slot, WRITE};
pub(crate) use registration::{Direction, Registration, is_inherited};
pub(crate) use timer::Timer;
pub(crate) use waker::{WAKERS, lend, wake};

/// One loop's tokio runtime: no worker thread, I/O and time driven by whoever is inside `block_on`.
pub(crate) struct Driver {
    /// Taken out by the drop.
    runtime: Option<Runtime>,
    ready: Arc<ReadyList>,
    /// Undoes `park`, where a wait did not come to its end.
    unpark: Arc<dyn Fn() + Send + Sync>,
    /// Why the kernel refused to wait: from then on there is no reactor.
    failed: OnceLock<Failure>,
    made_in: Generation,
}

/// The error of a look that failed.
struct Failure {
    number: Option<i32>,
    text: String,
}

impl Driver {
    /// A runtime that calls `park` before it really waits and `unpark` afterwards, both on the waiting thread,
    /// and leaves what it finds in `ready`.
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

    /// Whether this is the reactor of this process's parent: nothing may be done with it.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.made_in.is_over()
    }

    /// Whether this thread may `look`: it is not inside another runtime, which would panic.
    pub(crate) fn may_look() -> bool {
        Handle::try_current().is_err()
    }

    /// Polls the kernel once, and calls the wakers of what is ready. While `wait` says so, waits for
    /// something; it is asked once, when any later wake will be noticed.
    ///
    /// An error is the kernel's, and what every later call answers, too.
    #[inline]
    pub(crate) fn look(&self, wait: impl Fn() -> bool) -> io::Result<()> {
        let runtime = self.runtime()?;
        let looked = edge::guarded(|| {
            runtime.block_on(Look {
                ready: &self.ready,
                wait,
                polled: false,
            });
        });
        looked.map_err(|error| self.fail(error))
    }

    /// Finds out, before the descriptors are let go of, whether they are still the reactor's.
    pub(crate) fn check(&self) {
        if !self.is_inherited() && Self::may_look() {
            // Ignored: what matters is noted.
            let _ = self.look(|| false);
        }
    }

    /// The wait has ended in the middle: this thread is attached to Python again, and tokio has closed its set.
    #[cold]
    fn fail(&self, error: io::Error) -> io::Error {
        (self.unpark)();
        // Nothing is ready any more, and wakes must not be written to a number that may be another file's now.
        self.ready.forget_turn();
        self.ready.set_lost(sys::is_of_another_file(&error));
        let failure = Failure {
            number: error.raw_os_error(),
            text: error.to_string(),
        };
        self.failed.get_or_init(|| failure);
        error
    }

    /// The runtime; an error when there is none any more.
    #[inline]
    fn runtime(&self) -> io::Result<&Runtime> {
        if let Some(failure) = self.failed.get() {
            return Err(failure.error());
        }
        self.runtime.as_ref().ok_or_else(shut_down)
    }

    /// Watches `fd` for `direction`; wakes put its slot, marked with `key`, on the ready list.
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

    /// A slot without a descriptor, whose wakes carry `key`.
    fn slot(&self, key: u64) -> Arc<Slot> {
        Slot::new(Arc::clone(&self.ready), key)
    }

    /// Watches for both directions from now on; slot and key stay, what was armed must be armed again.
    pub(crate) fn widen(&self, registration: Registration) -> io::Result<Registration> {
        let _inside = self.runtime()?.enter();
        // Off the reactor first, which takes a descriptor once.
        let (fd, slot) = registration.into_parts();
        Registration::new(fd, Direction::Both, slot)
    }

    /// Watches the descriptor of an inherited registration.
    pub(crate) fn renew(&self, registration: &Registration) -> io::Result<()> {
        let _inside = self.runtime()?.enter();
        registration.renew()
    }

    /// The runtime, for tokio's timers and sockets to find; `None` once it is shut down.
    pub(crate) fn inside(&self) -> Option<Inside> {
        let runtime = self.runtime().ok()?;
        Some(Inside(runtime.handle().clone()))
    }
}

/// Ends the reactor without waiting for anything.
impl Drop for Driver {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if self.is_inherited() {
            // Another thread of the parent's may have been at it, lock in hand.
            mem::forget(runtime);
        } else {
            if self.ready.is_lost() {
                // The numbers of its descriptors may be other files' by now.
                mem::forget(runtime);
            } else {
                // Ignored: there is no reactor, as is wanted.
                let _ = edge::guarded(|| runtime.shutdown_background());
            }
            self.ready.forget_turn();
            self.ready.close();
        }
    }
}

/// A runtime to be inside of.
#[derive(Debug)]
pub(crate) struct Inside(Handle);

impl Inside {
    /// Calls where tokio finds the runtime.
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

/// Between its first poll and its second, the runtime polls the kernel.
struct Look<'a, W> {
    ready: &'a ReadyList,
    wait: W,
    polled: bool,
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
        // A wake from another thread that the runtime forgot when it began has left its slot before.
        if !(this.wait)() || !this.ready.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

// Nothing in it is pinned.
impl<W> Unpin for Look<'_, W> {}

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
    /// Marks the timer that says a wake was lost.
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
                    assert_ne!(slot.key(), LATE, "nobody woke the reactor: {seen}");
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
