//! The set behind the watchers: which callbacks and futures wait for a descriptor, and what the kernel watches.

mod due;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};

use pyo3::prelude::*;

use super::sources::NO_KEY;
use super::visit::Visit;
use crate::driver::{Direction, Driver, Registration};
use crate::ffi::handle::Handle;
use crate::sys::poller::{self, BAD_DESCRIPTOR, Interest, Poller};

/// The source that stands for the set of watched descriptors; the loop owns the set itself.
#[derive(Debug)]
pub(super) struct Watchers;

/// The direction in which a descriptor is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

/// What happens when a descriptor becomes ready.
#[derive(Debug, Default)]
pub(super) enum Watch {
    #[default]
    Nothing,
    /// The callback of `add_reader` or `add_writer`, called in each turn that finds the descriptor ready.
    Callback(Py<Handle>),
    /// Futures, completed once, all together; their owners then try again.
    Futures(Vec<Py<PyAny>>),
}

impl Watch {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

#[derive(Debug, Default)]
struct Watched {
    reader: Watch,
    writer: Watch,
}

impl Watched {
    fn side(&mut self, side: Side) -> &mut Watch {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    fn interest(&self) -> Interest {
        let [read, write] = [&self.reader, &self.writer].map(|watch| !watch.is_nothing());
        let repeats = |watch: &Watch| matches!(watch, Watch::Callback(_));
        Interest {
            read,
            write,
            once: !repeats(&self.reader) && !repeats(&self.writer),
        }
    }

    fn has_futures(&self) -> bool {
        let waits = |watch: &Watch| matches!(watch, Watch::Futures(_));
        waits(&self.reader) || waits(&self.writer)
    }

    /// Removes the futures if the descriptor is closed, or its number refers to another file than the set watches.
    fn take_orphans(&mut self, poller: &Poller, fd: RawFd, orphans: &mut Vec<Py<PyAny>>) {
        // Setting the current interest again fails exactly if the kernel does not watch the file.
        if !self.has_futures() || !poller.modify(fd, self.interest()).is_err_and(is_gone) {
            return;
        }
        for watch in [&mut self.reader, &mut self.writer] {
            if let Watch::Futures(futures) = watch {
                orphans.append(futures);
                *watch = Watch::Nothing;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.reader.is_nothing() && self.writer.is_nothing()
    }
}

/// The watched descriptors of one loop, in an epoll or kqueue set of their own.
///
/// The kernel does not report that a descriptor was closed, so nothing recorded here is trusted: each wait asks the
/// kernel, which knows the file behind a number. A descriptor whose futures were completed stays in the set,
/// disabled, so that the next wait costs one call instead of two; closing it removes it.
#[derive(Debug)]
pub(super) struct WatchSet {
    watched: HashMap<RawFd, Watched, BuildHasherDefault<Numbers>>,
    // Fields are dropped in this order: deregistered first, then closed.
    registration: Registration,
    poller: Poller,
}

impl WatchSet {
    /// Creates an empty set, registered with the reactor of `driver`.
    pub(super) fn new(driver: &Driver) -> io::Result<Self> {
        let poller = Poller::new()?;
        let registration = driver.register(poller.as_raw_fd(), Direction::Read, NO_KEY)?;
        Ok(Self {
            watched: HashMap::default(),
            registration,
            poller,
        })
    }

    /// Whether anything is watched besides the loop's own socket pair for signals.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.watched.len() > 1
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Replaces what is watched; returns the previous watch, to be dropped once no cell is borrowed.
    pub(super) fn replace(&mut self, fd: RawFd, side: Side, watch: Watch) -> io::Result<Watch> {
        let is_known = self.watched.contains_key(&fd);
        let watched = self.watched.entry(fd).or_default();
        let before = mem::replace(watched.side(side), watch);
        let interest = watched.interest();
        if let Err(error) = tell(&self.poller, fd, interest, is_known) {
            // Drops a handle or future that the caller holds too, so no destructor runs.
            *watched.side(side) = before;
            if watched.is_idle() {
                self.watched.remove(&fd);
            }
            return Err(error);
        }
        Ok(before)
    }

    /// Adds a future; returns the callback that it replaces.
    pub(super) fn wait(&mut self, fd: RawFd, side: Side, future: Py<PyAny>) -> io::Result<Watch> {
        let watched = self.watched.entry(fd).or_default();
        let interest = watched.interest();
        if let Watch::Futures(futures) = watched.side(side) {
            // The number may refer to another file by now.
            tell(&self.poller, fd, interest, true)?;
            futures.push(future);
            return Ok(Watch::Nothing);
        }
        self.replace(fd, side, Watch::Futures(vec![future]))
    }

    /// Removes the futures of files that are gone: closed, or replaced by another file with the same number.
    pub(super) fn take_orphans(&mut self) -> Vec<Py<PyAny>> {
        let mut orphans = Vec::new();
        // In a forked child, the set is the parent's and must not change.
        if !self.registration.is_inherited() {
            for (fd, watched) in &mut self.watched {
                watched.take_orphans(&self.poller, *fd, &mut orphans);
            }
        }
        orphans
    }

    /// As `take_orphans`, for one descriptor.
    pub(super) fn take_orphans_of(&mut self, fd: RawFd) -> Vec<Py<PyAny>> {
        let mut orphans = Vec::new();
        if let Some(watched) = self.watched.get_mut(&fd) {
            watched.take_orphans(&self.poller, fd, &mut orphans);
        }
        orphans
    }

    /// Whether any future waits.
    pub(super) fn has_futures(&self) -> bool {
        self.watched.values().any(Watched::has_futures)
    }

    /// Removes the watch of one side and returns it.
    pub(super) fn take(&mut self, fd: RawFd, side: Side) -> Watch {
        let Some(watched) = self.watched.get_mut(&fd) else {
            return Watch::Nothing;
        };
        let before = mem::take(watched.side(side));
        if !before.is_nothing() {
            self.shrink(fd);
        }
        before
    }

    /// Removes the futures of one side and returns them.
    pub(super) fn take_futures(&mut self, fd: RawFd, side: Side) -> Vec<Py<PyAny>> {
        let Some(Watch::Futures(futures)) =
            self.watched.get_mut(&fd).map(|watched| watched.side(side))
        else {
            return Vec::new();
        };
        let futures = mem::take(futures);
        // No future is left, so dropping the empty list runs no code.
        drop(self.take(fd, side));
        futures
    }

    /// Removes one future and returns it.
    pub(super) fn stop_waiting(
        &mut self,
        fd: RawFd,
        side: Side,
        future: &Bound<'_, PyAny>,
    ) -> Option<Py<PyAny>> {
        let watch = self.watched.get_mut(&fd)?.side(side);
        let Watch::Futures(futures) = watch else {
            return None;
        };
        let index = futures.iter().position(|other| other.is(future))?;
        let future = futures.remove(index);
        if futures.is_empty() {
            *watch = Watch::Nothing;
            self.shrink(fd);
        }
        Some(future)
    }

    /// Visits everything held for the garbage collector.
    pub(super) fn objects(&self, visit: Visit<'_>) {
        for watched in self.watched.values() {
            for watch in [&watched.reader, &watched.writer] {
                match watch {
                    Watch::Nothing => {}
                    Watch::Callback(handle) => visit(handle.as_any()),
                    Watch::Futures(futures) => futures.iter().for_each(&mut *visit),
                }
            }
        }
    }

    /// To be called after one side was removed: updates the kernel's interest.
    fn shrink(&mut self, fd: RawFd) {
        let Some(watched) = self.watched.get(&fd) else {
            return;
        };
        let (is_idle, interest) = (watched.is_idle(), watched.interest());
        if is_idle {
            self.watched.remove(&fd);
        }
        // In a forked child, the set is the parent's and must not change.
        if !self.registration.is_inherited() {
            // Ignored: if the descriptor was closed first, it has left the set already.
            let _ = if is_idle {
                self.poller.remove(fd)
            } else {
                self.poller.modify(fd, interest)
            };
        }
    }

    /// Replaces the set, dropping files without a watch that cannot be removed by number. The new set contains the
    /// watched descriptors if `served`, otherwise none.
    pub(super) fn rebuild(&mut self, driver: &Driver, served: bool) -> io::Result<()> {
        let poller = Poller::new()?;
        let registration = driver.register(poller.as_raw_fd(), Direction::Read, NO_KEY)?;
        self.watched.retain(|_, watched| !watched.is_idle());
        for (fd, watched) in self.watched.iter().filter(|_| served) {
            match poller.add(*fd, watched.interest()) {
                // A descriptor that the program has closed has no events.
                Err(error) if !poller::is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        let (from, to) = (self.registration.slot(), registration.slot());
        to.set_key(from.key());
        from.set_key(NO_KEY);
        self.registration = registration;
        self.poller = poller;
        if self.registration.drained() {
            self.registration.fire_read();
        }
        Ok(())
    }
}

/// Descriptors are small numbers chosen by the kernel, so collisions cannot be provoked, and every event looks one
/// up: a fast hash suffices.
#[derive(Debug, Default)]
struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i32(i32::from(*byte));
        }
    }

    fn write_i32(&mut self, number: i32) {
        // The table takes the bucket from the low bits and the tag from the high ones.
        let mixed =
            (self.0 ^ u64::from(number.cast_unsigned())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Whether the kernel reports that the number is not a descriptor, or that its file is not in the set.
#[expect(clippy::needless_pass_by_value, reason = "as `is_err_and` gives it")]
fn is_gone(error: io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(BAD_DESCRIPTOR)
}

/// Sets the kernel's interest in a descriptor. A known number may refer to another file by now, which is not in the
/// set; an unknown one may be in the set, for an old file that lives on under another number.
fn tell(poller: &Poller, fd: RawFd, interest: Interest, is_known: bool) -> io::Result<()> {
    let told = if is_known {
        poller.modify(fd, interest)
    } else {
        poller.add(fd, interest)
    };
    match told {
        Err(error) if error.kind() == ErrorKind::NotFound => poller.add(fd, interest),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => poller.modify(fd, interest),
        told => told,
    }
}
