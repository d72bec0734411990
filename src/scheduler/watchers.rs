//! Descriptors that the caller owns: level-triggered callbacks, and one-shot futures.
//!
//! All watched descriptors of a loop are in one epoll or kqueue set, which is nested in the reactor. The kernel then
//! does what asyncio's selector promises: a descriptor that was not drained fires again, and a descriptor that the
//! program closed leaves the set, so that its number can be reused.

use std::os::fd::RawFd;

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use super::core::closed;
use super::source::Source;
use super::tracer::Kind;
use super::visit::Visit;
pub(crate) use super::watch_set::Side;
use super::watch_set::{Callback, Watch, WatchSet, Watchers};
use super::{Core, Deferred, Local};
use crate::errors::os_error;
use crate::ffi::handle::{self, Handle};
use crate::ffi::{Stopped, call, handle_collector, name};

/// Calls `handle` in each turn that finds `fd` ready; cancels the previous handle. `object` is what the program passed
/// for the descriptor, unless it passed the number.
///
/// Waiting futures are dropped, as asyncio drops the calls that they belong to.
pub(crate) fn watch(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    handle: Py<Handle>,
    object: Option<Py<PyAny>>,
) -> PyResult<()> {
    let py = core.py();
    let watch = Watch::Callback(Callback { handle, object });
    let before = with_own(core, |set| set.replace(fd, side, watch))?;
    let_go(py, before.map_err(os_error)?);
    Ok(())
}

/// Removes a watch; `false` when there was none.
pub(crate) fn unwatch(core: &Bound<'_, Core>, fd: RawFd, side: Side) -> PyResult<bool> {
    let py = core.py();
    let Some(before) = with(&*core.get().local(py)?, |set| set.take(fd, side)) else {
        return Ok(false);
    };
    let was_there = !before.is_nothing();
    let_go(py, before);
    Ok(was_there)
}

/// The number that a closed object is watched by.
pub(crate) fn number_of(
    core: &Bound<'_, Core>,
    object: &Bound<'_, PyAny>,
) -> PyResult<Option<RawFd>> {
    let local = core.get().local(core.py())?;
    Ok(with(&local, |set| set.number_of(object)).flatten())
}

/// Lets the kernel know of removed watches. To be called before it is polled.
#[inline]
pub(super) fn settle(local: &Local) {
    with(local, WatchSet::settle);
}

/// Completes `future` once `fd` is ready; cancels the callback registered before.
pub(crate) fn wait(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = core.py();
    let future = future.clone().unbind();
    let (orphans, before) = with_own(core, |set| {
        (set.take_orphans_of(fd), set.wait(fd, side, future))
    })?;
    let_go(py, before.map_err(os_error)?);
    core.get().local(py)?.waits.begin();
    complete_all(py, orphans)
}

/// Completes the futures that wait for closed files: their owners try again and get the error.
pub(super) fn end_orphans(core: &Bound<'_, Core>, local: &Local) -> PyResult<()> {
    let Some((orphans, has_more)) = with(local, |set| (set.take_orphans(), set.has_futures()))
    else {
        return Ok(());
    };
    local.waits.asked(has_more);
    complete_all(core.py(), orphans)
}

fn complete_all(py: Python<'_>, futures: Vec<Py<PyAny>>) -> PyResult<()> {
    futures
        .iter()
        .try_for_each(|future| complete(future.bind(py)))
}

/// Queues the callbacks of ready descriptors before anything that this pass schedules. Futures are completed in this
/// pass, and their tasks continue in the next.
pub(super) fn queue_due(core: &Bound<'_, Core>, local: &Local) -> PyResult<()> {
    let Some(futures) = with(local, |set| set.due(core.py(), local)) else {
        return Ok(());
    };
    for future in futures? {
        local.defer(Deferred {
            target: future,
            argument: None,
            step: Kind::SetResult,
            run: |future, _| complete(future),
        });
    }
    Ok(())
}

/// Removes `future`, which is not awaited any more.
pub(crate) fn stop_waiting(
    core: &Bound<'_, Core>,
    fd: RawFd,
    side: Side,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let gone = with(&*core.get().local(core.py())?, |set| {
        set.stop_waiting(fd, side, future)
    });
    drop(gone);
    Ok(())
}

/// Completes the futures that wait for `fd`, which is closed: their owners try again and get the error.
pub(crate) fn wake(core: &Bound<'_, Core>, fd: RawFd) -> PyResult<()> {
    let py = core.py();
    for side in [Side::Reader, Side::Writer] {
        let local = core.get().local(py)?;
        let before = with(&local, |set| set.take_futures(fd, side)).ok_or_else(closed)?;
        drop(local);
        for future in before {
            complete(future.bind(py))?;
        }
    }
    Ok(())
}

/// Calls `call` with the set; `None` once the loop is closed. `call` must not run Python code.
fn with<R>(local: &Local, call: impl FnOnce(&mut WatchSet) -> R) -> Option<R> {
    local.watched().borrow_mut().as_mut().map(call)
}

/// As `with`, after giving a forked child a set of its own.
fn with_own<R>(core: &Bound<'_, Core>, call: impl FnOnce(&mut WatchSet) -> R) -> PyResult<R> {
    let local = core.get().local(core.py())?;
    if local.is_inherited() {
        local.driver()?;
    }
    with(&local, call).ok_or_else(closed)
}

/// Drops a watch; not to be called inside a borrow, because destructors may run Python code.
fn let_go(py: Python<'_>, watch: Watch) {
    if let Watch::Callback(callback) = watch {
        let handle = callback.handle.bind(py);
        handle::cancel(handle);
        handle::let_go(handle, None);
        handle_collector::leave(handle);
    }
}

impl Source for Watchers {
    /// Does nothing: the turn calls [`queue_due`] instead.
    fn on_ready(&self, _core: &Bound<'_, Core>, _ready: u8) -> PyResult<()> {
        Ok(())
    }

    /// The loop visits the contents of the set.
    fn objects(&self, _stopped: Stopped<'_>, _visit: Visit<'_>) {}
}

/// Completes a future, unless it was cancelled in the meantime.
fn complete(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    let none = py.None().into_bound(py);
    let Err(error) = call::method(future, name!(py, "set_result"), [&none]) else {
        return Ok(());
    };
    // Without memory it is done, too, but what waits for it is not called.
    if !error.is_instance_of::<PyMemoryError>(py)
        && future.call_method0(name!(py, "done"))?.is_truthy()?
    {
        return Ok(());
    }
    Err(error)
}
