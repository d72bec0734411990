//! A descriptor on the reactor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::edge;
use super::ready_list::{READ, Slot};
use crate::sys::fork::Generation;
use crate::sys::pipe;

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Both,
}

/// A descriptor watched edge-triggered: it reports one event, and the next one only after it was armed again.
///
/// An inherited registration reports nothing in a forked child until it is renewed, because its set belongs to the
/// parent.
pub(crate) struct Registration {
    fd: RawFd,
    direction: Direction,
    /// Always `Some`, until the drop takes it.
    io: RefCell<Option<AsyncFd<Borrowed>>>,
    made_in: Cell<Generation>,
    slot: Arc<Slot>,
}

/// A descriptor that the owner of the registration keeps open.
struct Borrowed(RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Registration {
    /// Must be called inside the runtime. `fd` must stay open, and the same file, until this is dropped.
    pub(super) fn new(fd: RawFd, direction: Direction, slot: Arc<Slot>) -> io::Result<Self> {
        Ok(Self {
            fd,
            direction,
            io: RefCell::new(Some(put(fd, direction)?)),
            made_in: Cell::new(Generation::current()),
            slot,
        })
    }

    /// Deregisters the descriptor.
    pub(super) fn into_parts(self) -> (RawFd, Arc<Slot>) {
        (self.fd, Arc::clone(&self.slot))
    }

    /// The slot that this registration's wakers push on the ready list.
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Whether the registration is on the reactor of this process's parent.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.made_in.get().is_over()
    }

    /// In a forked child, inside the runtime: registers the descriptor there.
    pub(super) fn renew(&self) -> io::Result<()> {
        let before = self.io.replace(Some(put(self.fd, self.direction)?));
        // Dropping it would deregister the descriptor from the parent's reactor.
        mem::forget(before);
        self.made_in.set(Generation::current());
        self.slot.take();
        Ok(())
    }

    /// Arms the waker for reading. Returns `true` if the descriptor may be readable already.
    pub(crate) fn arm_read(&self) -> bool {
        // An error means that the reactor is gone. No event will arrive, and the caller's system call returns the
        // error.
        self.with_io(|io| {
            let waker = self.slot.lend_read_waker();
            let mut context = Context::from_waker(&waker);
            matches!(io.poll_read_ready(&mut context), Poll::Ready(Ok(_)))
        })
    }

    /// After a read of everything: arms the waker for more. Returns `true` if there may be more already: a
    /// half-closed peer stays readable until its end of stream is read, and the kernel ends a read at urgent data.
    pub(crate) fn drained(&self) -> bool {
        self.with_io(|io| {
            if is_urgent(io) && self.has_more(io) {
                return true;
            }
            forget(io, Interest::READABLE);
            let waker = self.slot.lend_read_waker();
            let mut context = Context::from_waker(&waker);
            matches!(io.poll_read_ready(&mut context), Poll::Ready(Ok(_)))
        })
    }

    /// Polls the kernel until it reports no more input; then the urgent data has been passed.
    #[cold]
    fn has_more(&self, io: &AsyncFd<Borrowed>) -> bool {
        let waker = self.slot.lend_read_waker();
        let mut context = Context::from_waker(&waker);
        if let Poll::Ready(Ok(guard)) = io.poll_read_ready(&mut context)
            && guard.ready().is_read_closed()
        {
            return false; // It stays readable in any case.
        }
        // Ignored: if the poll fails, read once more.
        let has_more = pipe::has_input(self.fd).unwrap_or(true);
        if !has_more && let Some(urgent) = URGENT {
            forget(io, urgent);
        }
        has_more
    }

    /// After the kernel accepted no more: arms the waker for writing. Returns `true` if the descriptor may be
    /// writable already.
    pub(crate) fn filled(&self) -> bool {
        self.with_io(|io| {
            forget(io, Interest::WRITABLE);
            let waker = self.slot.lend_write_waker();
            let mut context = Context::from_waker(&waker);
            matches!(io.poll_write_ready(&mut context), Poll::Ready(Ok(_)))
        })
    }

    /// Whether the peer will read no more. The reactor reports this for a pipe even where only reading is watched.
    pub(crate) fn is_write_closed(&self) -> bool {
        self.with_io(|io| {
            let waker = self.slot.lend_write_waker();
            let mut context = Context::from_waker(&waker);
            match io.poll_write_ready(&mut context) {
                Poll::Ready(Ok(guard)) => guard.ready().is_write_closed(),
                _ => false,
            }
        })
    }

    /// Queues the slot for reading, without waiting for an event.
    pub(crate) fn fire_read(&self) {
        self.slot.fire(READ);
    }

    /// Returns `false` for an inherited registration, as another of the parent's threads may have held its lock
    /// during the fork.
    #[inline]
    fn with_io(&self, ask: impl FnOnce(&AsyncFd<Borrowed>) -> bool) -> bool {
        !self.is_inherited() && self.io.borrow().as_ref().is_some_and(ask)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let io = self.io.take();
        if self.is_inherited() || self.slot.is_lost() {
            // Dropping it would deregister the descriptor from the parent's reactor, or another file that now has our
            // set's number.
            mem::forget(io);
        } else {
            // Ignored: it is deregistered, or the reactor is gone.
            let _ = edge::guarded(|| drop(io));
        }
    }
}

/// Whether the descriptor belongs to this forked process's parent, so that this process must not read from it.
#[inline]
pub(crate) fn is_inherited(registration: &RefCell<Option<Registration>>) -> bool {
    registration
        .borrow()
        .as_ref()
        .is_some_and(Registration::is_inherited)
}

/// Whether an event reported urgent data. An end of stream counts, too.
#[inline]
fn is_urgent(io: &AsyncFd<Borrowed>) -> bool {
    URGENT.is_some_and(|urgent| io.try_io(urgent, |_| Ok(())).is_ok())
}

/// Marks the descriptor as not ready until the next event.
fn forget(io: &AsyncFd<Borrowed>, interest: Interest) {
    let blocked = |_: &Borrowed| Err::<(), _>(ErrorKind::WouldBlock.into());
    // Ignored: it returns the closure's own error.
    let _ = io.try_io(interest, blocked);
}

/// Registers a descriptor on the runtime that this thread is inside.
fn put(fd: RawFd, direction: Direction) -> io::Result<AsyncFd<Borrowed>> {
    let interest = match direction {
        Direction::Read => Interest::READABLE,
        Direction::Both => Interest::READABLE | Interest::WRITABLE,
    };
    let interest = URGENT.map_or(interest, |urgent| interest | urgent);
    // SAFETY: `as_raw_fd` of `Borrowed` always returns `fd`, and sources keep `fd` open: each drops its registration
    // before it closes its descriptor.
    Ok(unsafe { AsyncFd::register_with_interest(Borrowed(fd), interest) }?)
}

/// The reactor reports it together with readability.
#[cfg(target_os = "linux")]
const URGENT: Option<Interest> = Some(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
const URGENT: Option<Interest> = None;

impl fmt::Debug for Registration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Registration(fd={})", self.fd)
    }
}
