//! The half of a loop that belongs to the thread that runs it.

mod claims;
mod deadlines;
mod flushing;
mod gathering;
mod lending;
mod listeners;
mod nesting;
mod queue;
mod renewal;
mod scratch;
mod signals;

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
use self::listeners::Listeners;
use self::scratch::Scratch;
use self::signals::Signals;
use super::Core;
use super::source::Source;
use super::sources::{NO_KEY, Sources};
use super::visit::Visit;
use super::waits::Waits;
use super::watch_set::{WatchSet, Watchers};
use crate::driver::{Direction, Driver, Inside, ReadyList, Registration, Slot};
use crate::errors::os_error;
use crate::ffi::handle::Handle;
use crate::ffi::handle_collector;
use crate::ffi::panics::caught;
use crate::ffi::{Parking, Stopped};
use crate::sys;
pub(crate) use gathering::Flush;
pub(crate) use scratch::READ_SIZE;

/// Queues, timers, sources and the reactor of one loop.
///
/// No cell is borrowed while Python code can run: a callback, a destructor, a signal handler.
pub(crate) struct Local {
    ready: RefCell<VecDeque<Ready>>,
    pub(crate) deadlines: Deadlines,
    sources: RefCell<Sources<dyn Source>>,
    /// The source that handles an event; written between events only, so it may stay borrowed while Python code runs.
    current: RefCell<Option<AtWork>>,
    gathering: Gathering,
    /// The watched descriptors; `None` once the loop is closed.
    watched: RefCell<Option<WatchSet>>,
    /// Of the source that stands for `watched`.
    watchers_key: u64,
    pub(super) waits: Waits,
    pub(crate) listeners: Listeners,
    pub(crate) claims: Claims,
    /// `None` once the loop is closed.
    driver: RefCell<Option<Arc<Driver>>>,
    ready_list: Arc<ReadyList>,
    pub(crate) scratch: Scratch,
    /// A turn is running: writes may wait for the end of the callback that makes them.
    in_turn: Cell<bool>,
    pub(crate) signals: Signals,
    nesting: Nesting,
    /// Time is what Python's `time()` says: a subclass or an assignment has replaced it.
    own_clock: Cell<bool>,
    /// In a forked child: the loop ran when it was forked, so its descriptors are the parent's to serve.
    forked_while_running: Cell<bool>,
}

/// A source that handles an event, and the slot that the event came by.
type AtWork = (Arc<Slot>, Arc<dyn Source>);

/// What a run inside another must leave to the outer one.
#[derive(Default)]
struct Nesting {
    /// Runs inside others.
    depth: Cell<usize>,
    /// Of sources that handle an event in an inner run.
    busy: RefCell<Vec<AtWork>>,
    /// Events of those, and of the one that handles an event in the outermost run.
    events: RefCell<Vec<(Arc<Slot>, u8)>>,
    /// Handles whose context is entered further out.
    handles: RefCell<Vec<Py<Handle>>>,
}

/// An entry of the ready queue.
pub(super) enum Ready {
    Handle(Py<Handle>),
    Io(Arc<Slot>),
    Deferred(Box<Deferred>),
}

/// A call that native code puts off, as asyncio's transports do with `call_soon`.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) target: Py<PyAny>,
    pub(crate) argument: Option<Py<PyAny>>,
    pub(crate) run: fn(&Bound<'_, PyAny>, Option<Bound<'_, PyAny>>) -> PyResult<()>,
}

impl Local {
    pub(super) fn new(own_clock: bool) -> PyResult<Self> {
        sys::memory::raise_mmap_threshold();
        let ready_list = Arc::new(ReadyList::default());
        let driver = make_driver(&ready_list)?;
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
            driver: RefCell::new(Some(driver)),
            ready_list,
            scratch: Scratch::default(),
            in_turn: Cell::new(false),
            signals: Signals::default(),
            nesting: Nesting::default(),
            own_clock: Cell::new(own_clock),
            forked_while_running: Cell::new(false),
        })
    }

    pub(super) fn ready_list(&self) -> Arc<ReadyList> {
        Arc::clone(&self.ready_list)
    }

    /// The loop's tokio runtime, to call inside of.
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
            let Some(handle) = due else { break };
            let entry = Ready::Handle(handle.unbind());
            self.ready.borrow_mut().push_back(entry);
        }
    }

    /// The run is over: the collector must know every handle that waits for the next.
    pub(super) fn track_handles(&self, py: Python<'_>) {
        for entry in &*self.ready.borrow() {
            if let Ready::Handle(handle) = entry {
                handle_collector::track(handle.bind(py));
            }
        }
        self.deadlines.track(py);
    }

    /// Has the source that an event is for handle it.
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
            self.deadlines.fired_if(&slot);
            return Ok(());
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

    /// Puts `fd` on the reactor; no source gets its events before [`Local::attach`].
    pub(crate) fn register(&self, fd: RawFd, direction: Direction) -> PyResult<Registration> {
        self.driver()?
            .register(fd, direction, NO_KEY)
            .map_err(os_error)
    }

    /// Whether an event of any descriptor could concern the program: a transport, a server, a Rust future, a watched
    /// descriptor. The loop's own do not count.
    #[inline]
    pub(super) fn has_descriptors(&self) -> bool {
        self.sources.borrow().len() > OWN_SOURCES
            || self
                .watched
                .borrow()
                .as_ref()
                .is_some_and(WatchSet::has_others)
    }

    /// Watches for writing, too; see [`Driver::widen`].
    pub(crate) fn widen(&self, registration: Registration) -> PyResult<Registration> {
        self.driver()?.widen(registration).map_err(os_error)
    }

    /// From now on the registration's events go to `source`, which the loop keeps alive.
    pub(crate) fn attach(&self, registration: &Registration, source: Arc<dyn Source>) {
        self.renew_registration(registration);
        self.attach_slot(registration.slot(), source);
    }

    /// No source gets the registration's events any more, and the loop no longer keeps its source alive.
    pub(crate) fn detach(&self, registration: &Registration) {
        self.detach_slot(registration.slot());
    }

    /// A slot without a descriptor; no source gets its wakes before [`Local::attach_slot`].
    pub(crate) fn slot(&self) -> Arc<Slot> {
        Slot::new(Arc::clone(&self.ready_list), NO_KEY)
    }

    /// From now on the slot's wakes go to `source`, which the loop keeps alive.
    pub(crate) fn attach_slot(&self, slot: &Slot, source: Arc<dyn Source>) {
        slot.set_key(self.sources.borrow_mut().insert(source));
    }

    /// No source gets the slot's wakes any more, and the loop no longer keeps its source alive.
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

    /// Takes a listening socket off the reactor; `false` when it was not there.
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

    /// The transport that owns `fd`, where it is on the reactor.
    pub(crate) fn transport_of<'py>(
        &self,
        py: Python<'py>,
        fd: RawFd,
    ) -> Option<Bound<'py, PyAny>> {
        let (sources, current) = (self.sources.borrow(), self.current.borrow());
        sources
            .iter()
            .chain(current.as_ref().map(|(_, source)| source))
            .find_map(|source| source.transport(py, fd))
    }

    pub(crate) fn has_own_clock(&self) -> bool {
        self.own_clock.get()
    }

    /// From now on time is what Python's `time()` says.
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

    /// Forgets everything scheduled and ends the reactor.
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

    /// Shows the collector everything held.
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
            watched.iter().for_each(|set| set.objects(visit));
        }
        self.gathering.objects(visit);
    }
}

/// A reactor that lets go of the GIL while it waits.
fn make_driver(ready_list: &Arc<ReadyList>) -> PyResult<Arc<Driver>> {
    let parking = Arc::new(Parking::default());
    let unparking = Arc::clone(&parking);
    let (ready_list, found) = (Arc::clone(ready_list), Arc::clone(ready_list));
    Driver::new(
        ready_list,
        move || parking.detach(),
        move || {
            unparking.attach();
            // Interrupted by a signal, perhaps: the turn sees to it.
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
