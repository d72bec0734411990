//! A descriptor on the reactor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::edge;
use super::ready_list::{READ, Slot};
use crate::sys::fork::Generation;
use crate::sys::pipe;

/// What to watch a descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Both,
}

/// A descriptor watched edge-triggered: an event is told once, and the next only after arming again.
///
/// In a forked child an inherited one is silent until it is renewed: the set that it is in is the parent's.
pub(crate) struct Registration {
    fd: RawFd,
    direction: Direction,
    /// Always there; taken out to be forgotten.
    io: RefCell<Option<AsyncFd<Borrowed>>>,
    made_in: Cell<Generation>,
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
        Ok(Self {
            fd,
            direction,
            io: RefCell::new(Some(put(fd, direction)?)),
            made_in: Cell::new(Generation::current()),
            read_waker: Arc::clone(&slot).read_waker(),
            write_waker: Arc::clone(&slot).write_waker(),
            slot,
        })
    }

    /// Takes the descriptor off the reactor.
    pub(super) fn into_parts(self) -> (RawFd, Arc<Slot>) {
        (self.fd, Arc::clone(&self.slot))
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Whether the descriptor is on the reactor of this process's parent, not on its own.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.made_in.get().is_over()
    }

    /// Called inside the runtime, in a forked child: watches the descriptor there.
    pub(super) fn renew(&self) -> io::Result<()> {
        let before = self.io.replace(Some(put(self.fd, self.direction)?));
        // To drop it would take the descriptor off the parent's reactor.
        mem::forget(before);
        self.made_in.set(Generation::current());
        self.slot.take();
        Ok(())
    }

    /// Asks to be woken when there is something to read; `true` when there may be already.
    pub(crate) fn arm_read(&self) -> bool {
        // An error means that the reactor is gone: no event will come, and the caller's call will tell.
        self.with_io(|io| {
            let mut context = Context::from_waker(&self.read_waker);
            matches!(io.poll_read_ready(&mut context), Poll::Ready(Ok(_)))
        })
    }

    /// Everything was read: asks to be woken for more. `true` when there may be more already: a
    /// half-closed peer stays readable until its end of stream is read, and the kernel ends a read at urgent data.
    pub(crate) fn drained(&self) -> bool {
        self.with_io(|io| {
            if is_urgent(io) && self.has_more(io) {
                return true;
            }
            forget(io, Interest::READABLE);
            let mut context = Context::from_waker(&self.read_waker);
            matches!(io.poll_read_ready(&mut context), Poll::Ready(Ok(_)))
        })
    }

    /// Asks the kernel itself, until it says that there is nothing: then what was urgent is behind us.
    #[cold]
    fn has_more(&self, io: &AsyncFd<Borrowed>) -> bool {
        let mut context = Context::from_waker(&self.read_waker);
        if let Poll::Ready(Ok(guard)) = io.poll_read_ready(&mut context)
            && guard.ready().is_read_closed()
        {
            return false; // It stays readable in any case.
        }
        // Ignored: what cannot be asked is read once more.
        let has_more = pipe::has_input(self.fd).unwrap_or(true);
        if !has_more && let Some(urgent) = URGENT {
            forget(io, urgent);
        }
        has_more
    }

    /// The kernel took no more: asks to be woken when it will. `true` when it may already.
    pub(crate) fn filled(&self) -> bool {
        self.with_io(|io| {
            forget(io, Interest::WRITABLE);
            let mut context = Context::from_waker(&self.write_waker);
            matches!(io.poll_write_ready(&mut context), Poll::Ready(Ok(_)))
        })
    }

    /// Whether nobody will take what is written: told for a pipe's end also where only reading is watched.
    pub(crate) fn is_write_closed(&self) -> bool {
        self.with_io(|io| {
            let mut context = Context::from_waker(&self.write_waker);
            match io.poll_write_ready(&mut context) {
                Poll::Ready(Ok(guard)) => guard.ready().is_write_closed(),
                _ => false,
            }
        })
    }

    /// Tells the turn to read, without waiting for an event.
    pub(crate) fn fire_read(&self) {
        self.slot.fire(READ);
    }

    /// What an inherited one answers is `false`: a thread that is gone may hold a lock inside.
    #[inline]
    fn with_io(&self, ask: impl FnOnce(&AsyncFd<Borrowed>) -> bool) -> bool {
        !self.is_inherited() && self.io.borrow().as_ref().is_some_and(ask)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let io = self.io.take();
        if self.is_inherited() || self.slot.is_lost() {
            // To drop it would take the descriptor off the parent's reactor, or off what has the number of ours now.
            mem::forget(io);
        } else {
            // Ignored: it is off the reactor, or there is none.
            let _ = edge::guarded(|| drop(io));
        }
    }
}

/// Whether the descriptor is the parent's of this forked child to serve: nothing may be read from it.
#[inline]
pub(crate) fn is_inherited(registration: &RefCell<Option<Registration>>) -> bool {
    registration
        .borrow()
        .as_ref()
        .is_some_and(Registration::is_inherited)
}

/// Whether an event told of urgent data. An end of stream counts, too.
#[inline]
fn is_urgent(io: &AsyncFd<Borrowed>) -> bool {
    URGENT.is_some_and(|urgent| io.try_io(urgent, |_| Ok(())).is_ok())
}

/// Takes the descriptor for not ready until the next event.
fn forget(io: &AsyncFd<Borrowed>, interest: Interest) {
    let blocked = |_: &Borrowed| Err::<(), _>(ErrorKind::WouldBlock.into());
    // Ignored: it answers what the closure does.
    let _ = io.try_io(interest, blocked);
}

/// Puts a descriptor on the runtime that the thread is inside.
fn put(fd: RawFd, direction: Direction) -> io::Result<AsyncFd<Borrowed>> {
    let interest = match direction {
        Direction::Read => Interest::READABLE,
        Direction::Both => Interest::READABLE | Interest::WRITABLE,
    };
    let interest = URGENT.map_or(interest, |urgent| interest | urgent);
    // SAFETY: `Borrowed` always answers `fd`, which sources keep open: each drops its
    // registration before it closes its descriptor.
    Ok(unsafe { AsyncFd::register_with_interest(Borrowed(fd), interest) }?)
}

/// Of it the reactor tells together with what can be read.
#[cfg(target_os = "linux")]
const URGENT: Option<Interest> = Some(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
const URGENT: Option<Interest> = None;

impl fmt::Debug for Registration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Registration(fd={})", self.fd)
    }
}
