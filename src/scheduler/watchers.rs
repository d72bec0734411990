//! Descriptors that the caller owns: level-triggered callbacks, and futures that are completed once.
//!
//! All of a loop's watched descriptors are in one set of its own (epoll, kqueue), which is nested in the reactor.
//! The kernel then does what asyncio's selector promises: an undrained descriptor calls back again, one
//! that was closed behind our back leaves the set, and its number may be reused.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use pyo3::prelude::*;

use super::source::{NOBODY, Source, Visit};
pub(crate) use super::watch_set::Side;
use super::watch_set::{Watch, WatchSet};
use super::{Core, Deferred, Local};
use crate::driver::{Direction, Driver, Registration};
use crate::errors::os_error;
use crate::ffi::handle::{self, Handle};
use crate::ffi::{OwnerCell, call, name};
use crate::sys::poller::Poller;

/// The watched descriptors of one loop.
#[derive(Debug)]
pub(crate) struct Watchers(OwnerCell<RefCell<WatchSet>>);

/// Has `handle` called in each turn that finds `fd` ready; cancels the one that was there.
///
/// Futures that waited are let go of, as asyncio lets go of the calls that they are for.
pub(crate) fn watch(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    handle: Py<Handle>,
) -> PyResult<()> {
    let py = core.py();
    let before = own_watchers(core)?
        .with(py, core.get(), |set| {
            set.replace(fd, side, Watch::Callback(handle))
        })?
        .map_err(os_error)?;
    let_go(py, before);
    Ok(())
}

/// Ends a watch; `false` when there was none.
pub(crate) fn unwatch(core: &Bound<'_, Core>, fd: RawFd, side: Side) -> PyResult<bool> {
    let py = core.py();
    let Some(watchers) = core.get().local(py)?.watchers() else {
        return Ok(false);
    };
    let before = watchers.with(py, core.get(), |set| set.take(fd, side))?;
    let was_there = !before.is_nothing();
    let_go(py, before);
    Ok(was_there)
}

/// Has `future` completed once when `fd` is ready; cancels the callback that was there.
pub(crate) fn wait(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = core.py();
    let future = future.clone().unbind();
    let (orphans, before) = own_watchers(core)?.with(py, core.get(), |set| {
        (set.take_orphans_of(fd), set.wait(fd, side, future))
    })?;
    let_go(py, before.map_err(os_error)?);
    core.get().local(py)?.waits.begin();
    complete_all(py, orphans)
}

/// Completes the futures that wait for files which are gone: who made them tries again, and is told so.
pub(super) fn end_orphans(core: &Bound<'_, Core>, local: &Local) -> PyResult<()> {
    let py = core.py();
    let Some(watchers) = local.watchers() else {
        return Ok(());
    };
    let (orphans, has_more) = watchers.with(py, core.get(), |set| {
        (set.take_orphans(), set.has_futures())
    })?;
    local.waits.asked(has_more);
    complete_all(py, orphans)
}

fn complete_all(py: Python<'_>, futures: Vec<Py<PyAny>>) -> PyResult<()> {
    futures
        .iter()
        .try_for_each(|future| complete(future.bind(py)))
}

/// Queues the callbacks of what is ready, in front of whatever this pass schedules; futures are completed in it, and their
/// tasks go on in the next.
pub(super) fn queue_due(core: &Bound<'_, Core>, local: &Local) -> PyResult<()> {
    let py = core.py();
    let Some(watchers) = local.watchers() else {
        return Ok(());
    };
    for future in watchers.with(py, core.get(), |set| set.due(py, local))?? {
        local.defer(Deferred {
            target: future,
            argument: None,
            run: |future, _| complete(future),
        });
    }
    Ok(())
}

/// Nobody is interested in `future` any more.
pub(crate) fn stop_waiting(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = core.py();
    let Some(watchers) = core.get().local(py)?.watchers() else {
        return Ok(());
    };
    let gone = watchers.with(py, core.get(), |set| set.stop_waiting(fd, side, future))?;
    drop(gone);
    Ok(())
}

/// Completes the futures that wait for `fd`, which is closed: who made them will see that.
pub(crate) fn wake(core: &Bound<'_, Core>, fd: RawFd) -> PyResult<()> {
    let py = core.py();
    let watchers = watchers(core)?;
    for side in [Side::Reader, Side::Writer] {
        let before = watchers.with(py, core.get(), |set| set.take_futures(fd, side))?;
        for future in before {
            complete(future.bind(py))?;
        }
    }
    Ok(())
}

fn watchers(core: &Bound<'_, Core>) -> PyResult<Arc<Watchers>> {
    core.get()
        .local(core.py())?
        .watchers()
        .ok_or_else(super::closed)
}

/// Those that a forked child has of its own, if this is one.
fn own_watchers(core: &Bound<'_, Core>) -> PyResult<Arc<Watchers>> {
    core.get().local(core.py())?.driver()?;
    watchers(core)
}

/// Outside of any borrow: destructors may run Python code.
fn let_go(py: Python<'_>, watch: Watch) {
    if let Watch::Callback(handle) = watch {
        let handle = handle.bind(py);
        handle::cancel(handle);
        handle::let_go(handle, None);
    }
}

impl Watchers {
    /// An empty set on the reactor of `driver`.
    pub(super) fn new(driver: &Driver) -> io::Result<Arc<Self>> {
        let poller = Poller::new()?;
        let registration = driver.register(poller.as_raw_fd(), Direction::Read, NOBODY)?;
        let set = WatchSet::new(registration, poller);
        Ok(Arc::new(Self(OwnerCell::new(RefCell::new(set)))))
    }

    /// Shows the registration, while the loop is being made and nobody else knows of it.
    pub(super) fn registration(&self, show: impl FnOnce(&Registration)) {
        show(self.0.while_stopped().borrow().registration());
    }

    /// In a forked child: leaves the parent's set alone and makes another, empty or with all that is watched.
    pub(super) fn renew(&self, driver: &Driver, served: bool) -> io::Result<()> {
        self.0.inside().borrow_mut().rebuild(driver, served)
    }

    /// Whether more is watched than the pair that the loop hears signals by.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.0.inside().borrow().len() > 1
    }

    fn with<R>(
        &self,
        py: Python<'_>,
        core: &Core,
        call: impl FnOnce(&mut WatchSet) -> R,
    ) -> PyResult<R> {
        let set = self
            .0
            .enter(py, core.owner())
            .ok_or_else(super::wrong_thread)?;
        Ok(call(&mut set.borrow_mut()))
    }
}

impl Source for Watchers {
    /// The turn asks for [`queue_due`] instead.
    fn on_ready(&self, _core: &Bound<'_, Core>, _ready: u8) -> PyResult<()> {
        Ok(())
    }

    fn objects(&self, visit: Visit<'_>) {
        if let Ok(set) = self.0.while_stopped().try_borrow() {
            set.objects(visit);
        }
    }
}

/// One that was cancelled in the meantime stays so.
fn complete(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    let none = py.None().into_bound(py);
    let Err(error) = call::method(future, name!(py, "set_result"), [&none]) else {
        return Ok(());
    };
    if future.call_method0(name!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    Err(error)
}
