//! One loop, what runs, and everything that a program holds of it.

use std::cell::{Cell, RefCell};
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use pyo3::object::Value;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::pollables::{Act, FUNCTIONS, Plan, Planned};
use super::service::{Awaitable, FAULT, Fault, Remote, Slot, new_loop};
use crate::abi::{self, Api};
use crate::client::{RUNNING, raw};
use crate::ffi::owner::THREAD;
use crate::ffi::pollable::{self, LentWaker};
use crate::input::Input;
use crate::targets::PLANNED;

pub(super) struct World {
    pub(super) event_loop: Py<PyAny>,
    remote: Arc<Remote>,
    /// Of another kind.
    stranger: Py<PyAny>,
    pub(super) api: &'static Api,
    entries: Vec<Entry>,
    /// The client's handles of the loop.
    handles: Vec<raw::Remote>,
    /// Whether each submitted call was made attached; `None` while it waits.
    calls: Vec<Rc<Cell<Option<bool>>>>,
    slot: Arc<Slot>,
    wakers: Rc<RefCell<Vec<Waker>>>,
    wakes: usize,
    loop_wakes: usize,
}

/// An awaitable, and what it must do.
struct Entry {
    awaitable: Py<PyAny>,
    plan: Rc<Plan>,
    flags: u32,
    is_rust: bool,
    is_over: bool,
}

/// What [`World::choose`] put in place for a call of `spawn`.
struct Conditions {
    flags: u32,
    fault: Option<Fault>,
    thread: usize,
}

impl World {
    pub(super) fn new() -> Self {
        let py = Python::token();
        let (event_loop, remote) = new_loop();
        // The client finds the table.
        drop(raw::Remote::new(event_loop.bind(py)).expect("a table"));
        let capsule = event_loop
            .bind(py)
            .getattr_opt(abi::ATTRIBUTE)
            .expect("a loop");
        let api = match &capsule.expect("a loop").as_unbound().object().value {
            Value::Capsule(_, table) => *table,
            _ => panic!("a capsule"),
        };
        RUNNING.set(Some(event_loop.clone()));
        Self {
            event_loop,
            remote,
            stranger: Py::of(Value::None),
            // SAFETY: the table is static.
            api: unsafe { &*api.cast::<Api>() },
            entries: Vec::new(),
            handles: Vec::new(),
            calls: Vec::new(),
            slot: Arc::default(),
            wakers: Rc::default(),
            wakes: 0,
            loop_wakes: 0,
        }
    }

    fn plan(&self, input: &mut Input<'_>) -> Rc<Plan> {
        Rc::new(Plan {
            next: Cell::new(Act::Wait),
            wakers: Rc::clone(&self.wakers),
            panics_in_drop: input.byte() > 224,
            is_dropped: Cell::new(false),
        })
    }

    fn choose(&self, input: &mut Input<'_>) -> Conditions {
        let flags = match input.byte() {
            byte @ 0..=200 => u32::from(byte % 4),
            _ => u32::from_le_bytes(input.number()),
        };
        let fault = match input.byte() {
            0..=200 => None,
            201..=230 => Some(Fault::Raise),
            _ => Some(Fault::Panic),
        };
        Conditions {
            flags,
            fault,
            thread: usize::from(input.byte() > 230),
        }
    }

    /// The code that the header promises, whichever function is called with an object like this.
    fn code(&self, flags: u32, fault: Option<Fault>, thread: usize) -> i32 {
        let running = RUNNING.with_borrow(|running| {
            running
                .as_ref()
                .map(|running| running.bind(Python::token()).as_ptr())
        });
        let own = self.event_loop.bind(Python::token()).as_ptr();
        match (running, fault) {
            _ if flags > 3 => abi::INVALID,
            (None, _) => abi::NO_LOOP,
            (Some(running), _) if running != own => abi::FOREIGN,
            _ if self.remote.is_closed.get() => abi::CLOSED,
            _ if thread != 0 => abi::WRONG_THREAD,
            (_, Some(Fault::Raise)) => abi::EXCEPTION,
            (_, Some(Fault::Panic)) => abi::INVALID,
            (_, None) => abi::OK,
        }
    }

    /// The client's way.
    pub(super) fn spawn(&mut self, input: &mut Input<'_>) {
        let plan = self.plan(input);
        let Conditions {
            flags,
            fault,
            thread,
        } = self.choose(input);
        let code = self.code(flags, fault, thread);
        if code != abi::OK && plan.panics_in_drop {
            return; // The panic would be the caller's.
        }
        FAULT.set(fault);
        THREAD.set(thread);
        let result = raw::spawn(Python::token(), Planned(Rc::clone(&plan)), flags);
        THREAD.set(0);
        FAULT.set(None);
        assert_eq!(
            plan.is_dropped.get(),
            result.is_err() && code != abi::FOREIGN
        );
        match result {
            Ok(awaitable) => {
                assert_eq!(code, abi::OK);
                self.add(awaitable.unbind(), plan, flags, true);
            }
            Err(raw::Refused::Foreign(future)) => {
                assert_eq!(code, abi::FOREIGN);
                assert!(Rc::ptr_eq(&future.0, &plan));
            }
            Err(raw::Refused::Error(error)) => {
                let expected = match code {
                    abi::EXCEPTION => PLANNED,
                    abi::CLOSED => "Event loop is closed",
                    abi::WRONG_THREAD => {
                        "Non-thread-safe operation invoked on an event loop other than the current one"
                    }
                    abi::NO_LOOP => "no running event loop",
                    abi::INVALID => "yamanote refused the call",
                    _ => panic!("{error:?}"),
                };
                assert_eq!(message(&error), expected);
            }
        }
    }

    /// A C extension's way.
    pub(super) fn spawn_raw(&mut self, input: &mut Input<'_>) {
        let plan = self.plan(input);
        let Conditions {
            flags,
            fault,
            thread,
        } = self.choose(input);
        let code = self.code(flags, fault, thread);
        let data = Rc::into_raw(Rc::clone(&plan)).cast_mut().cast();
        let mut awaitable = std::ptr::null_mut();
        FAULT.set(fault);
        THREAD.set(thread);
        // SAFETY: null is the loop that runs; the functions belong to the data.
        let result = unsafe {
            (self.api.spawn)(
                std::ptr::null_mut(),
                &raw const FUNCTIONS,
                data,
                flags,
                &raw mut awaitable,
            )
        };
        THREAD.set(0);
        FAULT.set(None);
        assert_eq!(result, code);
        assert_eq!(
            PyErr::take(Python::token()).is_some(),
            code == abi::EXCEPTION
        );
        assert!(!plan.is_dropped.get());
        if code == abi::OK {
            // SAFETY: a new reference, as `OK` says.
            let awaitable = unsafe { Bound::from_owned_ptr(Python::token(), awaitable) };
            self.add(awaitable.unbind(), plan, flags, false);
        } else {
            assert!(awaitable.is_null());
            // SAFETY: not taken, as the code says.
            drop(unsafe { Rc::from_raw(data.cast::<Plan>()) });
        }
    }

    fn add(&mut self, awaitable: Py<PyAny>, plan: Rc<Plan>, flags: u32, is_rust: bool) {
        self.entries.push(Entry {
            awaitable,
            plan,
            flags,
            is_rust,
            is_over: false,
        });
    }

    fn entry(&mut self, input: &mut Input<'_>) -> Option<&mut Entry> {
        let count = self.entries.len().max(1);
        self.entries.get_mut(input.below(count))
    }

    pub(super) fn poll(&mut self, input: &mut Input<'_>) {
        let py = Python::token();
        let (byte, thread) = (input.byte(), usize::from(input.byte() > 230));
        let slot = Arc::clone(&self.slot);
        let Some(entry) = self.entry(input).filter(|entry| !entry.is_over) else {
            return;
        };
        let act = Act::of(byte, entry.is_rust);
        entry.plan.next.set(act);
        let awaitable = entry.awaitable.bind(py);
        let Awaitable(place) = awaitable.get().expect("an awaitable");
        let mut pollable = place.take().expect("it is not over");
        assert_eq!(
            pollable.wants_runtime(),
            entry.flags & abi::INSIDE_RUNTIME != 0
        );
        THREAD.set(thread);
        assert_eq!(
            pollable.is_at_home(py),
            thread == 0 || entry.flags & abi::ANY_THREAD != 0
        );
        // SAFETY: what the service's functions take, and alive.
        let polled = pollable.poll(py, unsafe { LentWaker::new(Arc::as_ptr(&slot).cast()) });
        THREAD.set(0);
        let is_abroad = thread != 0 && entry.flags & abi::ANY_THREAD == 0;
        let seen = match polled {
            Poll::Pending => "pending".to_owned(),
            Poll::Ready(Ok(object)) => {
                let number = object.cast_exact::<PyInt>().expect("a number");
                number.extract::<u8>().expect("a small one").to_string()
            }
            Poll::Ready(Err(error)) => message(&error).to_owned(),
        };
        let expected = match act {
            _ if is_abroad => "polled on a foreign thread".to_owned(),
            Act::Wait | Act::Register => "pending".to_owned(),
            Act::Finish(number) => number.to_string(),
            Act::Raise => PLANNED.to_owned(),
            Act::Panic => format!("a Rust future panicked: {PLANNED}"),
            Act::Status(_) => "a pollable failed without setting an exception".to_owned(),
        };
        assert_eq!(seen, expected);
        if seen == "pending" {
            place.replace(Some(pollable));
        } else {
            drop(pollable);
            entry.is_over = true;
        }
    }

    pub(super) fn cancel(&mut self, input: &mut Input<'_>) {
        let (api, py) = (self.api, Python::token());
        let fault = (input.byte() > 200).then_some(if input.flag() {
            Fault::Raise
        } else {
            Fault::Panic
        });
        let Some(entry) = self.entry(input) else {
            return;
        };
        FAULT.set(fault);
        // SAFETY: attached, and alive.
        let code = unsafe { (api.cancel)(entry.awaitable.bind(py).as_ptr()) };
        FAULT.set(None);
        let expected = match fault {
            Some(Fault::Raise) => abi::EXCEPTION,
            Some(Fault::Panic) => abi::INVALID,
            None if entry.is_over => abi::DONE,
            None => abi::OK,
        };
        assert_eq!(code, expected);
        assert_eq!(PyErr::take(py).is_some(), code == abi::EXCEPTION);
        entry.is_over |= code == abi::OK;
    }

    /// The last reference to an awaitable goes.
    pub(super) fn forget(&mut self, input: &mut Input<'_>) {
        let count = self.entries.len().max(1);
        let which = input.below(count);
        if which < self.entries.len() {
            let Entry {
                awaitable, plan, ..
            } = self.entries.swap_remove(which);
            drop(awaitable);
            assert!(plan.is_dropped.get(), "an awaitable has left its pollable");
        }
    }

    /// The client gets, copies, uses and drops handles of the loop.
    pub(super) fn hold(&mut self, input: &mut Input<'_>) {
        let (py, is_closed) = (Python::token(), self.remote.is_closed.get());
        let which = input.below(self.handles.len().max(1));
        match (input.byte() % 4, self.handles.get(which)) {
            (0, _) | (_, None) => match raw::Remote::new(self.event_loop.bind(py)) {
                Ok(handle) => {
                    assert!(!is_closed);
                    self.handles.push(handle.expect("ours"));
                }
                Err(error) => {
                    assert!(is_closed);
                    assert_eq!(message(&error), "Event loop is closed");
                }
            },
            (1, Some(handle)) => self.handles.push(handle.clone()),
            (2, Some(handle)) => {
                let panics = input.byte() > 230;
                FAULT.set(panics.then_some(Fault::Panic));
                assert_eq!(handle.wake(), !is_closed && !panics);
                self.loop_wakes += usize::from(!panics);
            }
            _ => drop(self.handles.swap_remove(which)),
        }
    }

    pub(super) fn submit(&mut self, input: &mut Input<'_>) {
        let panics = input.byte() > 224;
        let which = input.below(self.handles.len().max(1));
        let Some(handle) = self.handles.get(which) else {
            return;
        };
        let made = Rc::new(Cell::new(None));
        let call = OneThread(Rc::clone(&made));
        let is_taken = handle.submit(move |py| {
            let OneThread(made) = { call };
            assert_eq!(made.replace(Some(py.is_some())), None, "called twice");
            if panics {
                panic_any(PLANNED);
            }
        });
        assert_eq!(is_taken, !self.remote.is_closed.get());
        if is_taken {
            self.calls.push(made);
        } else {
            assert_eq!(
                (made.get(), Rc::strong_count(&made)),
                (None, 1),
                "it was refused"
            );
        }
    }

    /// The loop runs what was submitted.
    pub(super) fn run_calls(&mut self) {
        for completion in self.remote.calls.take() {
            completion.run(Python::token());
        }
        self.called(true);
    }

    pub(super) fn close(&mut self) {
        self.remote.is_closed.set(true);
        drop(self.remote.calls.take());
        self.called(false);
    }

    fn called(&mut self, attached: bool) {
        for made in self.calls.drain(..) {
            assert_eq!((made.get(), Rc::strong_count(&made)), (Some(attached), 1));
        }
    }

    pub(super) fn run_another(&mut self, input: &mut Input<'_>) {
        let running = [
            Some(&self.event_loop),
            Some(&self.event_loop),
            Some(&self.stranger),
            None,
        ][input.below(4)];
        RUNNING.set(running.cloned());
    }

    pub(super) fn use_waker(&mut self, input: &mut Input<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        let which = input.below(wakers.len().max(1));
        let Some(waker) = wakers.get(which) else {
            return;
        };
        match input.byte() % 4 {
            0 => {
                let clone = waker.clone();
                assert!(clone.will_wake(waker));
                wakers.push(clone);
            }
            1 => {
                waker.wake_by_ref();
                self.wakes += 1;
            }
            2 => {
                wakers.swap_remove(which).wake();
                self.wakes += 1;
            }
            _ => drop(wakers.swap_remove(which)),
        }
    }

    /// Whether everything that lives is in the lists.
    pub(super) fn check(&self) {
        let alive = self.entries.iter().filter(|entry| !entry.is_over).count();
        assert_eq!(pollable::live(), alive);
        for entry in &self.entries {
            assert_eq!(entry.plan.is_dropped.get(), entry.is_over);
            assert_eq!(
                Rc::strong_count(&entry.plan),
                2 - usize::from(entry.is_over)
            );
        }
        // One is the world's, one the loop's.
        assert_eq!(Arc::strong_count(&self.remote), 2 + self.handles.len());
        assert_eq!(
            Arc::strong_count(&self.slot),
            1 + self.wakers.borrow().len()
        );
        assert_eq!(self.slot.wakes.get(), self.wakes);
        assert_eq!(self.remote.wakes.get(), self.loop_wakes);
        assert_eq!(self.remote.calls.borrow().len(), self.calls.len());
        assert!(self.calls.iter().all(|made| made.get().is_none()));
    }

    pub(super) fn end(mut self) {
        self.close();
        self.entries.clear();
        self.check();
        RUNNING.set(None);
    }
}

/// May be sent, because there is one thread.
struct OneThread<T>(T);

// SAFETY: as above.
unsafe impl<T> Send for OneThread<T> {}

fn message(error: &PyErr) -> &str {
    match error
        .arguments()
        .first()
        .map(|argument| &argument.object().value)
    {
        Some(Value::Str(message)) => message,
        _ => panic!("{}", error.class()),
    }
}
