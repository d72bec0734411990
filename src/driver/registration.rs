//! A descriptor on the reactor.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ready_list::{READ, Slot};

/// What to watch a descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Both,
}

/// A descriptor watched edge-triggered: an event is told once, and the next only after arming again.
pub(crate) struct Registration {
    io: AsyncFd<Borrowed>,
    slot: Arc<Slot>,
    read_waker: Waker,
    write_waker: Waker,
}

/// A descriptor that the owner of the registration keeps open.
struct Borrowed(RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Registration {
    /// Called inside the runtime. `fd` stays open and the same file until this is dropped.
    pub(super) fn new(fd: RawFd, direction: Direction, slot: Arc<Slot>) -> io::Result<Self> {
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Both => Interest::READABLE | Interest::WRITABLE,
        };
        // SAFETY: `Borrowed` always answers `fd`, which sources keep open: each drops its
        // registration before it closes its descriptor.
        let io = unsafe { AsyncFd::register_with_interest(Borrowed(fd), interest) }?;
        Ok(Self {
            io,
            read_waker: Arc::clone(&slot).read_waker(),
            write_waker: Arc::clone(&slot).write_waker(),
            slot,
        })
    }

    /// Takes the descriptor off the reactor.
    pub(super) fn into_parts(self) -> (RawFd, Arc<Slot>) {
        (self.io.get_ref().0, self.slot)
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Asks to be woken when there is something to read; `true` when there may be already.
    pub(crate) fn arm_read(&self) -> bool {
        let mut context = Context::from_waker(&self.read_waker);
        // An error means that the reactor is gone: no event will come, and the caller's call will tell.
        matches!(self.io.poll_read_ready(&mut context), Poll::Ready(Ok(_)))
    }

    /// Everything was read: asks to be woken for more. `true` when there may be more already: a
    /// half-closed peer stays readable until its end of stream is read.
    pub(crate) fn drained(&self) -> bool {
        self.forget(Interest::READABLE);
        self.arm_read()
    }

    /// The kernel took no more: asks to be woken when it will. `true` when it may already.
    pub(crate) fn filled(&self) -> bool {
        self.forget(Interest::WRITABLE);
        let mut context = Context::from_waker(&self.write_waker);
        matches!(self.io.poll_write_ready(&mut context), Poll::Ready(Ok(_)))
    }

    /// Takes the descriptor for not ready until the next event.
    fn forget(&self, interest: Interest) {
        let blocked = |_: &Borrowed| Err::<(), _>(ErrorKind::WouldBlock.into());
        // Ignored: it answers what the closure does.
        let _ = self.io.try_io(interest, blocked);
    }

    /// Whether nobody will take what is written: told for a pipe's end also where only reading is watched.
    pub(crate) fn is_write_closed(&self) -> bool {
        let mut context = Context::from_waker(&self.write_waker);
        match self.io.poll_write_ready(&mut context) {
            Poll::Ready(Ok(guard)) => guard.ready().is_write_closed(),
            _ => false,
        }
    }

    /// Tells the turn to read, without waiting for an event.
    pub(crate) fn fire_read(&self) {
        self.slot.fire(READ);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Registration(fd={})", self.io.get_ref().0)
    }
}
