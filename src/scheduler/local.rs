//! The half of a loop that belongs to the thread that runs it.

mod claims;
mod deadlines;
mod flushing;
mod gathering;
mod lending;
mod limiting;
mod listeners;
mod nesting;
mod queue;
mod renewal;
mod scratch;
mod signals;
mod testing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::prelude::*;

use self::claims::Claims;
use self::deadlines::Deadlines;
use self::gathering::Gathering;
use self::limiting::Limiting;
use self::listeners::Listeners;
use self::scratch::Scratch;
use self::signals::Signals;
use self::testing::Testing;
use super::Core;
use super::limits::Overdue;
use super::meters::Meters;
use super::source::Source;
use super::sources::{NO_KEY, Sources};
use super::tracer::Kind;
use super::visit::Visit;
use super::waits::Waits;
use super::watch_set::{WatchSet, Watchers};
use crate::driver::{Direction, Driver, Inside, ReadyList, Registration, Slot};
use crate::errors::os_error;
use crate::ffi::handle::{self, Handle};
use crate::ffi::handle_collector;
use crate::ffi::make;
use crate::ffi::panics::caught;
use crate::ffi::{Parking, Stopped};
use crate::sys;
use crate::sys::clock::nanoseconds;
pub(crate) use gathering::Flush;
pub(super) use limiting::Looks;
pub(crate) use scratch::READ_SIZE;

/// Queues, timers, sources and the reactor of one loop.
///
/// No cell is borrowed while Python code can run: a callback, a destructor, a signal handler.
pub(crate) struct Local {
    ready: RefCell<VecDeque<Ready>>,
    pub(crate) deadlines: Deadlines,
    sources: RefCell<Sources<dyn Source>>,
    /// The source that handles the current event. Written between events only, so it may stay borrowed while Python runs.
    current: RefCell<Option<AtWork>>,
    gathering: Gathering,
    /// The watched descriptors; `None` once the loop is closed.
    watched: RefCell<Option<WatchSet>>,
    /// The slot of the source that stands for `watched`.
    watchers_key: u64,
    pub(super) waits: Waits,
    pub(crate) listeners: Listeners,
    pub(crate) claims: Claims,
    pub(crate) limiting: Limiting,
    /// `None` once the loop is closed.
    driver: RefCell<Option<Arc<Driver>>>,
    ready_list: Arc<ReadyList>,
    meters: Arc<Meters>,
    /// Descriptors of sources that the reactor watches.
    attached: Cell<usize>,
    pub(crate) scratch: Scratch,
    /// Whether a turn is running: then a write may wait for the end of the callback that makes it.
    in_turn: Cell<bool>,
    pub(crate) signals: Signals,
    nesting: Nesting,
    pub(crate) testing: Testing,
    /// Whether a subclass or an assignment has replaced `time()`; then the loop's time comes from it.
    own_clock: Cell<bool>,
    /// Whether this is a forked child whose parent was running the loop: then the parent serves the descriptors.
    forked_while_running: Cell<bool>,
}

/// The source that handles the current event, and the event's slot.
type AtWork = (Arc<Slot>, Arc<dyn Source>);

/// A connection, and the limit that it has exceeded.
type Late = (Arc<dyn Source>, Overdue);

/// What a nested run must leave to the outer one.
#[derive(Default)]
struct Nesting {
    /// The number of nested runs.
    depth: Cell<usize>,
    /// The slots of sources that handle an event in a nested run.
    busy: RefCell<Vec<AtWork>>,
    /// Events for those, and for the source that handles an event in the outermost run.
    events: RefCell<Vec<(Arc<Slot>, u8)>>,
    /// Handles whose context an outer run has entered.
    handles: RefCell<Vec<Py<Handle>>>,
}

/// An entry of the ready queue.
pub(super) enum Ready {
    Handle(Py<Handle>),
    Io(Arc<Slot>),
    Deferred(Box<Deferred>),
}

/// A call that native code defers to a later turn, as asyncio's transports do with `call_soon`.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) target: Py<PyAny>,
    pub(crate) argument: Option<Py<PyAny>>,
    /// What a trace calls it.
    pub(crate) step: Kind,
    pub(crate) run: fn(&Bound<'_, PyAny>, Option<Bound<'_, PyAny>>) -> PyResult<()>,
}

impl Local {
    pub(super) fn new(own_clock: bool) -> PyResult<Self> {
        sys::memory::raise_mmap_threshold();
        let ready_list = Arc::new(ReadyList::default());
        let meters = Arc::new(Meters::default());
        let driver = make_driver(&ready_list, &meters)?;
        let deadlines = Deadlines::new(&driver)?;
        let watched = WatchSet::new(&driver).map_err(os_error)?;
        let mut sources = Sources::<dyn Source>::default();
        let watchers_key = sources.insert(Arc::new(Watchers));
        watched.registration().slot().set_key(watchers_key);
        watched.registration().arm_read();
        Ok(Self {
            ready: RefCell::default(),
            deadlines,
            sources: RefCell::new(sources),
            current: RefCell::default(),
            gathering: Gathering::default(),
            watched: RefCell::new(Some(watched)),
            watchers_key,
            waits: Waits::default(),
            listeners: Listeners::default(),
            claims: Claims::default(),
            limiting: Limiting::default(),
            driver: RefCell::new(Some(driver)),
            ready_list,
            meters,
            attached: Cell::new(0),
            scratch: Scratch::default(),
            in_turn: Cell::new(false),
            signals: Signals::default(),
            nesting: Nesting::default(),
            testing: Testing::default(),
            own_clock: Cell::new(own_clock),
            forked_while_running: Cell::new(false),
        })
    }

    pub(super) fn ready_list(&self) -> Arc<ReadyList> {
        Arc::clone(&self.ready_list)
    }

    pub(super) fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// Notes for other threads how much there is, at the end of a turn.
    #[inline]
    pub(crate) fn measure(&self) {
        self.meters.ready.set(self.ready_count() as u64);
        self.meters.timers.set(self.deadlines.count() as u64);
        let watched = self.watched.borrow();
        let watched = watched.as_ref().map_or(0, WatchSet::others);
        self.meters.fds.set((self.attached.get() + watched) as u64);
    }

    /// The loop's tokio runtime, for calls that must run inside it.
    pub(crate) fn inside(&self) -> Option<Inside> {
        self.driver().ok()?.inside()
    }

    pub(super) fn has_ready_io(&self) -> bool {
        !self.ready_list.is_empty()
    }

    /// Queues every timer that is due at `now`.
    pub(super) fn take_due_timers(&self, py: Python<'_>, now: f64) {
        // Without memory for the queue, the rest stays due.
        while self.reserve().is_ok() {
            let due = self.deadlines.pop_due(py, now);
            let Some((when, handle)) = due else { break };
            if !handle::is_cancelled(&handle) {
                self.meters.timers_fired.count();
                self.meters.lateness.record(nanoseconds(now - when));
            }
            let entry = Ready::Handle(handle.unbind());
            self.ready.borrow_mut().push_back(entry);
        }
    }

    /// The run has ended: the collector must know every handle that waits for the next run.
    pub(super) fn track_handles(&self, py: Python<'_>) {
        for entry in &*self.ready.borrow() {
            if let Ready::Handle(handle) = entry {
                handle_collector::track(handle.bind(py));
            }
        }
        self.deadlines.track(py);
    }

    /// Passes an event to its source.
    pub(super) fn deliver(
        &self,
        slot: Arc<Slot>,
        handle: impl FnOnce(&dyn Source, u8) -> PyResult<()>,
    ) -> PyResult<()> {
        let (key, ready) = (slot.key(), slot.take());
        if self.is_nested() && key != NO_KEY {
            return self.deliver_nested(slot, ready, handle);
        }
        if key == NO_KEY {
            let looks = self.deadlines.fired_if(&slot);
            return if looks { handle(&Looks, ready) } else { Ok(()) };
        }
        let source = self.sources.borrow_mut().take(key);
        self.current.replace(source.map(|source| (slot, source)));
        let result = match &*self.current.borrow() {
            // A panic in the middle must not lose the source.
            Some((_, source)) => caught(|| handle(&**source, ready)),
            None => Ok(()),
        };
        if let Some((_slot, source)) = self.current.take() {
            let forgotten = self.sources.borrow_mut().put_back(key, source);
            drop(forgotten);
        }
        result
    }

    /// Registers `fd` with the reactor; its events reach no source before [`Local::attach`].
    pub(crate) fn register(&self, fd: RawFd, direction: Direction) -> PyResult<Registration> {
        self.driver()?
            .register(fd, direction, NO_KEY)
            .map_err(os_error)
    }

    /// Whether any descriptor other than the loop's own is registered: a transport's, a server's, a Rust future's, a
    /// watched one.
    #[inline]
    pub(super) fn has_descriptors(&self) -> bool {
        self.sources.borrow().len() > OWN_SOURCES
            || self
                .watched
                .borrow()
                .as_ref()
                .is_some_and(WatchSet::has_others)
    }

    /// Also registers interest in writing; see [`Driver::widen`].
    pub(crate) fn widen(&self, registration: Registration) -> PyResult<Registration> {
        self.driver()?.widen(registration).map_err(os_error)
    }

    /// Passes the registration's events to `source` from now on, and keeps it alive.
    pub(crate) fn attach(&self, registration: &Registration, source: Arc<dyn Source>) {
        self.attached.set(self.attached.get() + 1);
        self.renew_registration(registration);
        self.attach_slot(registration.slot(), source);
    }

    /// Stops passing the registration's events on, and releases the source.
    pub(crate) fn detach(&self, registration: &Registration) {
        self.attached.set(self.attached.get().saturating_sub(1));
        self.detach_slot(registration.slot());
    }

    /// Returns a slot without a descriptor; its wakes reach no source before [`Local::attach_slot`].
    pub(crate) fn slot(&self) -> Arc<Slot> {
        Slot::new(Arc::clone(&self.ready_list), NO_KEY)
    }

    /// Passes the slot's wakes to `source` from now on, and keeps it alive.
    pub(crate) fn attach_slot(&self, slot: &Slot, source: Arc<dyn Source>) {
        slot.set_key(self.sources.borrow_mut().insert(source));
    }

    /// Stops passing the slot's wakes on, and releases the source.
    pub(crate) fn detach_slot(&self, slot: &Slot) {
        let source = self.sources.borrow_mut().remove(slot.key());
        slot.set_key(NO_KEY);
        drop(source);
    }

    /// Keeps a listening socket's registration until [`Local::remove_listener`].
    pub(crate) fn add_listener(&self, fd: RawFd, registration: Registration) {
        let before = self.listeners.0.borrow_mut().insert(fd, registration);
        if let Some(before) = before {
            self.detach(&before);
        }
    }

    /// Deregisters a listening socket; `false` if it was not registered.
    pub(crate) fn remove_listener(&self, fd: RawFd) -> bool {
        let registration = self.listeners.0.borrow_mut().remove(&fd);
        if let Some(registration) = &registration {
            self.detach(registration);
        }
        registration.is_some()
    }

    pub(super) fn watched(&self) -> &RefCell<Option<WatchSet>> {
        &self.watched
    }

    /// The transport that owns `fd`, if it is registered.
    pub(crate) fn transport_of<'py>(
        &self,
        py: Python<'py>,
        fd: RawFd,
    ) -> Option<Bound<'py, PyAny>> {
        let (sources, current) = (self.sources.borrow(), self.current.borrow());
        sources
            .iter()
            .chain(current.as_ref().map(|(_, source)| source))
            .find_map(|source| source.transport(py, Some(fd)))
    }

    /// Every transport that is registered.
    pub(crate) fn transports<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let (sources, current) = (self.sources.borrow(), self.current.borrow());
        let current = current.as_ref().map(|(_, source)| source);
        let all = sources.iter().chain(current);
        make::collected(all.filter_map(|source| source.transport(py, None).map(Ok)))
    }

    /// The connections that have exceeded a limit, and the shortest limit of all. `now` is in milliseconds, modulo
    /// 2^32.
    pub(super) fn overdue(&self, py: Python<'_>, now: u32) -> PyResult<(Vec<Late>, u32)> {
        let mut late = Vec::new();
        let mut shortest = 0;
        for source in self.sources.borrow().iter() {
            let look = source.look(py, now);
            if look.shortest > 0 && (shortest == 0 || look.shortest < shortest) {
                shortest = look.shortest;
            }
            if let Some(limit) = look.overdue {
                late.try_reserve(1).map_err(make::no_memory)?;
                late.push((Arc::clone(source), limit));
            }
        }
        Ok((late, shortest))
    }

    /// Every source.
    pub(super) fn every_source(&self) -> PyResult<Vec<Arc<dyn Source>>> {
        let sources = self.sources.borrow();
        let mut all = Vec::new();
        all.try_reserve(sources.len()).map_err(make::no_memory)?;
        all.extend(sources.iter().map(Arc::clone));
        Ok(all)
    }

    /// What may wake the loop besides transports: the number of listening sockets, of other descriptors, and of
    /// pending Rust futures.
    pub(crate) fn count_sources(&self) -> (usize, usize, usize) {
        let watched = self.watched.borrow();
        let watched = watched.as_ref().map_or(0, WatchSet::others);
        let known = OWN_SOURCES + self.attached.get();
        let futures = self.sources.borrow().len().saturating_sub(known);
        (self.listeners.count(), watched, futures)
    }

    pub(crate) fn has_own_clock(&self) -> bool {
        self.own_clock.get()
    }

    /// Takes the loop's time from Python's `time()` from now on.
    pub(crate) fn use_own_clock(&self) {
        self.own_clock.set(true);
    }

    pub(crate) fn is_in_turn(&self) -> bool {
        self.in_turn.get()
    }

    pub(super) fn set_in_turn(&self, inside: bool) {
        self.in_turn.set(inside);
        self.ready_list.set_turning(inside);
    }

    /// Drops everything scheduled and ends the reactor.
    pub(super) fn close(&self, core: &Core, py: Python<'_>) {
        let driver = self.driver.borrow().clone();
        if let Some(driver) = &driver {
            driver.check();
        }
        let ready = mem::take(&mut *self.ready.borrow_mut());
        let deadlines = self.deadlines.take(py);
        let sources = mem::take(&mut *self.sources.borrow_mut());
        let flushes = self.gathering.take();
        self.scratch.clear();
        let watched = self.watched.take();
        self.claims.clear();
        let listeners = self.listeners.take();
        sources.iter().for_each(|source| source.on_close(core, py));
        drop((ready, deadlines, sources, flushes, watched, listeners));
        drop((driver, self.driver.take()));
    }

    /// Passes every object held to the garbage collector.
    pub(super) fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        if let Ok(ready) = self.ready.try_borrow() {
            for entry in &*ready {
                match entry {
                    Ready::Handle(handle) => handle_collector::objects(handle, stopped, visit),
                    Ready::Io(_) => {}
                    Ready::Deferred(deferred) => {
                        visit(&deferred.target);
                        deferred.argument.iter().for_each(&mut *visit);
                    }
                }
            }
        }
        self.held_back(visit);
        self.deadlines.objects(stopped, visit);
        if let Ok(sources) = self.sources.try_borrow() {
            sources
                .iter()
                .for_each(|source| source.objects(stopped, visit));
        }
        if let Ok(current) = self.current.try_borrow() {
            current
                .iter()
                .for_each(|(_, source)| source.objects(stopped, visit));
        }
        if let Ok(watched) = self.watched.try_borrow() {
            watched.iter().for_each(|set| set.objects(stopped, visit));
        }
        self.gathering.objects(visit);
    }
}

/// The reactor's wait, with the GIL released.
fn make_driver(ready_list: &Arc<ReadyList>, meters: &Arc<Meters>) -> PyResult<Arc<Driver>> {
    let parking = Arc::new(Parking::default());
    let unparking = Arc::clone(&parking);
    let meters = Arc::clone(meters);
    let (ready_list, found) = (Arc::clone(ready_list), Arc::clone(ready_list));
    Driver::new(
        ready_list,
        move || parking.detach(),
        move || {
            meters.phases.end_wait();
            unparking.attach();
            meters.phases.attached();
            // Perhaps interrupted by a signal, which the turn handles.
            if found.is_empty() {
                found.wake_turn();
            }
        },
    )
    .map(Arc::new)
    .map_err(os_error)
}

/// The watched set and the calls of other threads.
const OWN_SOURCES: usize = 2;
impl fmt::Debug for Local {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Local")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}
