//! The set behind the watchers: who waits for which descriptor, and what the kernel was told.

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

/// The set of watched descriptors in the table of sources; the set itself is the loop's.
#[derive(Debug)]
pub(super) struct Watchers;

/// Which direction of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

/// What happens when a descriptor is ready.
#[derive(Debug, Default)]
pub(super) enum Watch {
    #[default]
    Nothing,
    /// A callback of `add_reader` or `add_writer`: in each turn that finds it ready.
    Callback(Py<Handle>),
    /// Futures, completed once, all together; who made them tries again then.
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

    /// Takes out the futures, if the number stands for another file than the set watches, or for none.
    fn take_orphans(&mut self, poller: &Poller, fd: RawFd, orphans: &mut Vec<Py<PyAny>>) {
        // Asked by telling the kernel what it knows.
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

/// The watched descriptors of one loop, in a set of their own.
///
/// Nobody tells us when a descriptor is closed, so nothing that is remembered here is trusted: each wait
/// asks the kernel, which knows which file a number stands for. One whose futures were completed stays
/// in the set, silent, so that the next wait costs one call and not two; closing it takes it out.
#[derive(Debug)]
pub(super) struct WatchSet {
    watched: HashMap<RawFd, Watched, BuildHasherDefault<Numbers>>,
    // Dropped in this order: off the reactor first, then closed.
    registration: Registration,
    poller: Poller,
}

impl WatchSet {
    /// An empty set on the reactor of `driver`.
    pub(super) fn new(driver: &Driver) -> io::Result<Self> {
        let poller = Poller::new()?;
        let registration = driver.register(poller.as_raw_fd(), Direction::Read, NO_KEY)?;
        Ok(Self {
            watched: HashMap::default(),
            registration,
            poller,
        })
    }

    /// Whether more is watched than the pair that the loop hears signals by.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.watched.len() > 1
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Replaces what is there; returns it, to be dropped once no cell is borrowed.
    pub(super) fn replace(&mut self, fd: RawFd, side: Side, watch: Watch) -> io::Result<Watch> {
        let is_known = self.watched.contains_key(&fd);
        let watched = self.watched.entry(fd).or_default();
        let before = mem::replace(watched.side(side), watch);
        let interest = watched.interest();
        if let Err(error) = tell(&self.poller, fd, interest, is_known) {
            // What is dropped here is a handle or a future that the caller holds too: no destructor runs.
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
            // The number may stand for another file by now.
            tell(&self.poller, fd, interest, true)?;
            futures.push(future);
            return Ok(Watch::Nothing);
        }
        self.replace(fd, side, Watch::Futures(vec![future]))
    }

    /// Takes out the futures of files that are gone: closed, or another file has their number.
    pub(super) fn take_orphans(&mut self) -> Vec<Py<PyAny>> {
        let mut orphans = Vec::new();
        // The set of a forked child's parent is left alone.
        if !self.registration.is_inherited() {
            for (fd, watched) in &mut self.watched {
                watched.take_orphans(&self.poller, *fd, &mut orphans);
            }
        }
        orphans
    }

    /// The same for one number.
    pub(super) fn take_orphans_of(&mut self, fd: RawFd) -> Vec<Py<PyAny>> {
        let mut orphans = Vec::new();
        if let Some(watched) = self.watched.get_mut(&fd) {
            watched.take_orphans(&self.poller, fd, &mut orphans);
        }
        orphans
    }

    /// Whether a future waits for anything.
    pub(super) fn has_futures(&self) -> bool {
        self.watched.values().any(Watched::has_futures)
    }

    /// Takes out what is there.
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

    /// Takes out the futures of one side.
    pub(super) fn take_futures(&mut self, fd: RawFd, side: Side) -> Vec<Py<PyAny>> {
        let Some(Watch::Futures(futures)) =
            self.watched.get_mut(&fd).map(|watched| watched.side(side))
        else {
            return Vec::new();
        };
        let futures = mem::take(futures);
        // Not a future is left: dropping the empty list runs nothing.
        drop(self.take(fd, side));
        futures
    }

    /// Takes one future out; returns it.
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

    /// Shows the collector everything held.
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

    /// One side was taken out.
    fn shrink(&mut self, fd: RawFd) {
        let Some(watched) = self.watched.get(&fd) else {
            return;
        };
        let (is_idle, interest) = (watched.is_idle(), watched.interest());
        if is_idle {
            self.watched.remove(&fd);
        }
        // The set of a forked child's parent is left alone.
        if !self.registration.is_inherited() {
            // Ignored: a descriptor that was closed first has left the set by itself.
            let _ = if is_idle {
                self.poller.remove(fd)
            } else {
                self.poller.modify(fd, interest)
            };
        }
    }

    /// A new set without files that nobody watches and nobody can take out; with what is watched, or empty.
    pub(super) fn rebuild(&mut self, driver: &Driver, served: bool) -> io::Result<()> {
        let poller = Poller::new()?;
        let registration = driver.register(poller.as_raw_fd(), Direction::Read, NO_KEY)?;
        self.watched.retain(|_, watched| !watched.is_idle());
        for (fd, watched) in self.watched.iter().filter(|_| served) {
            match poller.add(*fd, watched.interest()) {
                // One that was closed behind our back has no event to give.
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

/// Descriptors are small numbers that the kernel chose: nobody can make them collide, and each is looked up for
/// every event.
#[derive(Debug, Default)]
struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i32(i32::from(*byte));
        }
    }

    fn write_i32(&mut self, number: i32) {
        // The table takes its place from the low bits and its tag from the high ones.
        let mixed =
            (self.0 ^ u64::from(number.cast_unsigned())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the kernel answers about a number that is no descriptor, or one of a file that it does not watch.
#[expect(clippy::needless_pass_by_value, reason = "as `is_err_and` gives it")]
fn is_gone(error: io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(BAD_DESCRIPTOR)
}

/// Tells the kernel what a descriptor is watched for. A known number may be another file by now, which the
/// kernel does not know; an unknown one may be known, by an old file that lives on elsewhere.
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
