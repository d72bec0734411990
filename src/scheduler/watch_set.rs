//! The set behind the watchers: which callbacks and futures wait for a descriptor, and what the kernel watches.

mod due;
mod watched;

use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};

use pyo3::prelude::*;

pub(crate) use self::watched::Side;
use self::watched::Watched;
pub(super) use self::watched::{Callback, Watch};
use super::numbers::{NumberMap, NumberSet};
use super::sources::NO_KEY;
use super::visit::Visit;
use crate::driver::{Direction, Driver, Registration};
use crate::ffi::Stopped;
use crate::sys::poller::{self, Interest, Poller};

/// The source that stands for the set of watched descriptors; the loop owns the set itself.
#[derive(Debug)]
pub(super) struct Watchers;

/// The watched descriptors of one loop, in an epoll or kqueue set of their own.
///
/// The kernel does not report that a descriptor was closed, so nothing recorded here is trusted: each wait asks the
/// kernel, which knows the file behind a number. A descriptor whose futures were completed stays in the set,
/// disabled, so that the next wait costs one call instead of two; closing it removes it. For the same reason the kernel
/// learns of a removed watch only before it is polled (`settle`): a callback that removes a watch often adds it again.
///
/// A file that lives on under another number stays in the kernel's set when its number is closed, where it cannot be
/// removed. Its events have the tag that it was added with, which the number's next file does not have.
#[derive(Debug)]
pub(super) struct WatchSet {
    watched: NumberMap<Watched>,
    /// Descriptors that the kernel may watch for more than `watched` says.
    stale: NumberSet,
    /// The tag of the file that was added last.
    last_tag: u32,
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
            watched: NumberMap::default(),
            stale: NumberSet::default(),
            last_tag: 0,
            registration,
            poller,
        })
    }

    /// Whether anything is watched besides the loop's own socket pair for signals.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.watched.len() > 1
    }

    /// How many descriptors a callback or a future waits for, besides that pair.
    pub(super) fn others(&self) -> usize {
        let all = self.watched.values();
        let watched = all.filter(|watched| !watched.is_idle()).count();
        watched.saturating_sub(1)
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Replaces what is watched; returns the previous watch, to be dropped once no cell is borrowed.
    pub(super) fn replace(&mut self, fd: RawFd, side: Side, watch: Watch) -> io::Result<Watch> {
        let entry = self.watched.entry(fd);
        let is_known = matches!(entry, Entry::Occupied(_));
        let watched = entry.or_default();
        let before = mem::replace(watched.side(side), watch);
        if let Err(error) = tell(&self.poller, &mut self.last_tag, fd, watched, is_known) {
            // Drops a handle or future that the caller holds too, so no destructor runs.
            *watched.side(side) = before;
            if watched.is_idle() {
                self.watched.remove(&fd);
            }
            return Err(error);
        }
        self.stale.remove(&fd);
        Ok(before)
    }

    /// Adds a future; returns the callback that it replaces.
    pub(super) fn wait(&mut self, fd: RawFd, side: Side, future: Py<PyAny>) -> io::Result<Watch> {
        if let Some(watched) = self.watched.get_mut(&fd)
            && matches!(watched.side(side), Watch::Futures(_))
        {
            // The number may refer to another file by now.
            tell(&self.poller, &mut self.last_tag, fd, watched, true)?;
            if let Watch::Futures(futures) = watched.side(side) {
                futures.push(future);
            }
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
            self.stale.insert(fd);
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
            self.stale.insert(fd);
        }
        Some(future)
    }

    /// The number of a closed object that is watched.
    pub(super) fn number_of(&self, object: &Bound<'_, PyAny>) -> Option<RawFd> {
        let mut all = self.watched.iter();
        all.find_map(|(fd, watched)| watched.is_of(object).then_some(*fd))
    }

    /// Visits everything held for the garbage collector.
    pub(super) fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        self.watched
            .values()
            .for_each(|watched| watched.objects(stopped, visit));
    }

    /// Lets the kernel know what is not watched any more. To be called before it is polled.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.stale.is_empty() {
            self.forget_stale();
        }
    }

    fn forget_stale(&mut self) {
        // In a forked child, the set is the parent's and must not change.
        let is_own = !self.registration.is_inherited();
        for fd in self.stale.drain() {
            let Some(watched) = self.watched.get(&fd).filter(|_| is_own) else {
                continue;
            };
            // Ignored: if the descriptor was closed first, it has left the set already.
            let _ = if watched.is_idle() {
                self.watched.remove(&fd);
                self.poller.remove(fd)
            } else {
                self.poller.modify(fd, watched.interest())
            };
        }
    }

    /// Replaces the set, dropping files without a watch that cannot be removed by number. The new set contains the
    /// watched descriptors if `served`, otherwise none.
    pub(super) fn rebuild(&mut self, driver: &Driver, served: bool) -> io::Result<()> {
        let poller = Poller::new()?;
        let registration = driver.register(poller.as_raw_fd(), Direction::Read, NO_KEY)?;
        self.watched.retain(|_, watched| !watched.is_idle());
        self.stale.clear();
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

/// Sets the kernel's interest in a descriptor. A known number may refer to another file by now, which is not in the
/// set; an unknown one may be in the set, for an old file that lives on under another number.
fn tell(
    poller: &Poller,
    last_tag: &mut u32,
    fd: RawFd,
    watched: &mut Watched,
    is_known: bool,
) -> io::Result<()> {
    let interest = watched.interest();
    if is_known {
        match poller.modify(fd, interest) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            told => return told,
        }
    }
    *last_tag = last_tag.wrapping_add(1);
    let interest = Interest {
        tag: *last_tag,
        ..interest
    };
    match poller.add(fd, interest) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => poller.modify(fd, interest)?,
        told => told?,
    }
    watched.tag = interest.tag;
    Ok(())
}
