//! What programs have polled: Rust futures of the client, and a C extension's objects.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::panic::panic_any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::object::Value;
use pyo3::prelude::*;

use crate::abi::{self, PollableFunctions};
use crate::targets::PLANNED;

/// What one poll does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    Wait,
    /// Keeps a waker.
    Register,
    Finish(u8),
    Raise,
    /// A C extension's: any status, with nothing to it.
    Status(c_int),
    /// A Rust future's.
    Panic,
}

impl Act {
    pub(super) fn of(byte: u8, is_rust: bool) -> Self {
        match byte % 8 {
            0 | 1 => Self::Wait,
            2 | 3 => Self::Register,
            4 => Self::Finish(byte),
            5 => Self::Raise,
            _ if is_rust => Self::Panic,
            // But for `PENDING`.
            _ => Self::Status(
                [abi::READY, abi::FAILED, 2, -9, c_int::MAX][usize::from(byte / 8) % 5],
            ),
        }
    }
}

/// What a program knows of its pollable.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) next: Cell<Act>,
    pub(super) wakers: Rc<RefCell<Vec<Waker>>>,
    pub(super) panics_in_drop: bool,
    pub(super) is_dropped: Cell<bool>,
}

impl Plan {
    fn end(&self) {
        assert!(!self.is_dropped.replace(true), "dropped twice");
        if self.panics_in_drop {
            panic_any(PLANNED);
        }
    }
}

/// A Rust future.
pub(super) struct Planned(pub(super) Rc<Plan>);

impl Future for Planned {
    type Output = PyResult<i128>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(plan) = &*self;
        assert!(!plan.is_dropped.get(), "polled after it was dropped");
        match plan.next.get() {
            Act::Wait => Poll::Pending,
            Act::Register => {
                plan.wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
            Act::Finish(result) => Poll::Ready(Ok(result.into())),
            Act::Raise => Poll::Ready(Err(PyRuntimeError::new_err(PLANNED))),
            Act::Panic | Act::Status(_) => panic_any(PLANNED),
        }
    }
}

impl Drop for Planned {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A C extension's object is the plan itself.
pub(super) static FUNCTIONS: PollableFunctions = PollableFunctions { poll, drop };

unsafe extern "C" fn poll(
    data: *mut c_void,
    _waker: *const abi::Waker,
    result: *mut *mut ffi::PyObject,
) -> c_int {
    // SAFETY: the plan that was given, which `drop` gives up.
    let plan = unsafe { &*data.cast::<Plan>() };
    assert!(!plan.is_dropped.get(), "polled after it was dropped");
    match plan.next.get() {
        Act::Wait | Act::Register => abi::PENDING,
        Act::Finish(number) => {
            let object: Py<PyAny> = Py::of(Value::Int(number.into()));
            // SAFETY: writable during the call.
            unsafe { result.write(object.into_bound(Python::token()).into_ptr()) };
            abi::READY
        }
        Act::Raise | Act::Panic => {
            PyRuntimeError::new_err(PLANNED).restore(Python::token());
            abi::FAILED
        }
        Act::Status(status) => status,
    }
}

unsafe extern "C" fn drop(data: *mut c_void) {
    // SAFETY: a reference that the pollable owns, and gives up.
    let plan = unsafe { Rc::from_raw(data.cast::<Plan>()) };
    assert!(!plan.is_dropped.replace(true), "dropped twice");
}
