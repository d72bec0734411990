//! Descriptors that the caller owns, watched level-triggered: `add_reader` and `add_writer`.
//!
//! All of a loop's watched descriptors are in one level-triggered epoll set of its own, which is nested
//! in the reactor. The kernel then does what asyncio's selector promises: an undrained descriptor
//! calls back again, one that was closed behind our back leaves the set, and its number may be reused.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use pyo3::prelude::*;

use super::source::{NOBODY, Source, Visit};
use super::{Core, Local};
use crate::driver::{Direction, Driver, Registration};
use crate::errors::os_error;
use crate::ffi::OwnerCell;
use crate::ffi::handle::{self, Handle};
use crate::sys::{Epoll, Event};

/// Which of the two callbacks of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

/// The watched descriptors of one loop.
#[derive(Debug)]
pub(crate) struct Watchers(OwnerCell<RefCell<Set>>);

#[derive(Debug)]
struct Set {
    watched: HashMap<RawFd, Watched>,
    // Dropped in this order: off the reactor first, then closed.
    registration: Registration,
    epoll: Epoll,
}

#[derive(Debug, Default)]
struct Watched {
    reader: Option<Py<Handle>>,
    writer: Option<Py<Handle>>,
}

impl Watched {
    fn side(&mut self, side: Side) -> &mut Option<Py<Handle>> {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    fn wants(&self) -> (bool, bool) {
        (self.reader.is_some(), self.writer.is_some())
    }
}

/// Has `handle` called in each turn that finds `fd` ready; cancels the one that was there.
pub(crate) fn watch(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    handle: Py<Handle>,
) -> PyResult<()> {
    let py = core.py();
    let local = core.get().local(py)?;
    let watchers = local.watchers().ok_or_else(super::closed)?;
    let before = watchers
        .with(py, core.get(), |set| set.watch(fd, side, handle))?
        .map_err(os_error)?;
    cancel(py, before);
    Ok(())
}

/// Ends a watch; `false` when there was none.
pub(crate) fn unwatch(core: &Bound<'_, Core>, fd: RawFd, side: Side) -> PyResult<bool> {
    let py = core.py();
    let local = core.get().local(py)?;
    let Some(watchers) = local.watchers() else {
        return Ok(false);
    };
    let before = watchers.with(py, core.get(), |set| set.unwatch(fd, side))?;
    let was_there = before.is_some();
    cancel(py, before);
    Ok(was_there)
}

/// Cancelled outside of any borrow: its arguments' destructors may run Python code.
fn cancel(py: Python<'_>, handle: Option<Py<Handle>>) {
    if let Some(handle) = handle {
        let handle = handle.bind(py);
        handle::cancel(handle);
        handle::let_go(handle, None);
    }
}

impl Watchers {
    /// An empty set on the reactor of `driver`.
    pub(super) fn new(driver: &Driver) -> io::Result<Arc<Self>> {
        let epoll = Epoll::new()?;
        let registration = driver.register(epoll.as_raw_fd(), Direction::Read, NOBODY)?;
        let set = Set {
            watched: HashMap::new(),
            registration,
            epoll,
        };
        Ok(Arc::new(Self(OwnerCell::new(RefCell::new(set)))))
    }

    /// Shows the registration, while the loop is being made and nobody else knows of it.
    pub(super) fn registration(&self, show: impl FnOnce(&Registration)) {
        show(&self.0.while_stopped().borrow().registration);
    }

    fn with<R>(
        &self,
        py: Python<'_>,
        core: &Core,
        call: impl FnOnce(&mut Set) -> R,
    ) -> PyResult<R> {
        let set = self
            .0
            .enter(py, core.owner())
            .ok_or_else(super::wrong_thread)?;
        Ok(call(&mut set.borrow_mut()))
    }
}

impl Source for Watchers {
    fn on_ready(&self, core: &Bound<'_, Core>, _ready: u8) -> PyResult<()> {
        let py = core.py();
        let local = core.get().local(py)?;
        let due = self.with(py, core.get(), |set| set.due(py, &local))??;
        for handle in due {
            local.push(handle);
        }
        Ok(())
    }

    fn objects(&self, visit: Visit<'_>) {
        if let Ok(set) = self.0.while_stopped().try_borrow() {
            for watched in set.watched.values() {
                let both = watched.reader.iter().chain(&watched.writer);
                both.for_each(|handle| visit(handle.as_any()));
            }
        }
    }
}

impl Set {
    fn watch(
        &mut self,
        fd: RawFd,
        side: Side,
        handle: Py<Handle>,
    ) -> io::Result<Option<Py<Handle>>> {
        let watched = self.watched.entry(fd).or_default();
        let known = watched.wants() != (false, false);
        let before = watched.side(side).replace(handle);
        let (read, write) = watched.wants();
        let mut result = if known {
            self.epoll.modify(fd, read, write)
        } else {
            self.epoll.add(fd, read, write)
        };
        // The number was closed and reused behind our back, or its old file lives on as a duplicate.
        match &result {
            Err(error) if known && error.kind() == ErrorKind::NotFound => {
                result = self.epoll.add(fd, read, write);
            }
            Err(error) if !known && error.kind() == ErrorKind::AlreadyExists => {
                result = self.epoll.modify(fd, read, write);
            }
            _ => {}
        }
        if let Err(error) = result {
            *watched.side(side) = before;
            if watched.wants() == (false, false) {
                self.watched.remove(&fd);
            }
            return Err(error);
        }
        Ok(before)
    }

    fn unwatch(&mut self, fd: RawFd, side: Side) -> Option<Py<Handle>> {
        let watched = self.watched.get_mut(&fd)?;
        let before = watched.side(side).take()?;
        let (read, write) = watched.wants();
        // Ignored: a descriptor that was closed first has left the set by itself.
        if read || write {
            let _ = self.epoll.modify(fd, read, write);
        } else {
            self.watched.remove(&fd);
            let _ = self.epoll.remove(fd);
        }
        Some(before)
    }

    /// The callbacks of what is ready now. While anything is, the set is looked at again after they ran.
    fn due(&mut self, py: Python<'_>, local: &Local) -> PyResult<Vec<Py<Handle>>> {
        let mut events = Vec::new();
        self.epoll.ready(&mut events).map_err(os_error)?;
        let mut due = Vec::with_capacity(events.len());
        let mut stale = false;
        for Event {
            fd,
            readable,
            writable,
        } in events.iter().copied()
        {
            let Some(watched) = self.watched.get(&fd) else {
                // Its file lives on under another number: this one may take it out of the set, or not.
                stale |= self.epoll.remove(fd).is_err();
                continue;
            };
            let reader = watched.reader.iter().filter(|_| readable);
            let writer = watched.writer.iter().filter(|_| writable);
            due.extend(reader.chain(writer).map(|handle| handle.clone_ref(py)));
        }
        if stale {
            self.rebuild(local)?;
        }
        if events.is_empty() {
            self.look_again();
        } else {
            self.registration.fire_read();
        }
        Ok(due)
    }

    fn look_again(&self) {
        if self.registration.drained() {
            self.registration.fire_read();
        }
    }

    /// A new set without files that nobody watches and nobody can take out.
    fn rebuild(&mut self, local: &Local) -> PyResult<()> {
        let epoll = Epoll::new().map_err(os_error)?;
        for (fd, watched) in &self.watched {
            let (read, write) = watched.wants();
            // Ignored: closed behind our back, so it would call nobody.
            let _ = epoll.add(*fd, read, write);
        }
        let registration = local.register(epoll.as_raw_fd(), Direction::Read)?;
        let (from, to) = (self.registration.slot(), registration.slot());
        to.set_key(from.key());
        from.set_key(NOBODY);
        self.registration = registration;
        self.epoll = epoll;
        Ok(())
    }
}
