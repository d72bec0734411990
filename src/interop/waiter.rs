//! The object that a task waits on while the Rust future that it awaits is pending.
//!
//! asyncio's tasks accept any object that has `_asyncio_future_blocking` and a future's methods. The awaitable itself
//! must not have them: `asyncio.isfuture` would then consider it a future that other code completes.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::pending::{Callback, Pending};
use crate::ffi::context::copy_current;
use crate::ffi::{
    Attribute, Class, Members, NativeClass, Visitor, attribute, data, make, members, method, name,
    new_instance, settable,
};
use crate::scheduler::Core;

/// `RustWaiter`: one per awaitable, reused for each suspension.
#[derive(Debug)]
pub(crate) struct Waiter {
    core: Py<Core>,
    pending: Arc<Pending>,
    /// asyncio's flag that an `await` yielded the object. Relaxed: only the steps of one task set and read it.
    blocking: AtomicBool,
}

pub(super) fn new<'py>(
    core: &Bound<'py, Core>,
    pending: Arc<Pending>,
) -> PyResult<Bound<'py, Waiter>> {
    new_instance(
        core.py(),
        Waiter {
            core: core.clone().unbind(),
            pending,
            blocking: AtomicBool::new(false),
        },
    )
}

impl Waiter {
    /// Sets the flag, because it is about to be yielded.
    pub(super) fn block(&self) {
        self.blocking.store(true, Ordering::Relaxed);
    }
}

impl NativeClass for Waiter {
    const NAME: &'static CStr = c"yamanote._yamanote.RustWaiter";
    const DOC: &'static CStr = c"What a task waits on while a Rust future is pending.";

    fn class() -> &'static Class {
        static CLASS: Class = Class::new();
        &CLASS
    }

    fn members() -> Members {
        members!(Members::default();
            methods: GetLoop, AddDoneCallback, RemoveDoneCallback, Cancel, Done, Outcome;
            attributes: Loop;
            settables: Blocking)
    }

    fn traverse(&self, visitor: &mut Visitor<'_>) {
        visitor.object(&self.core);
    }

    fn repr(_this: &Bound<'_, Self>) -> PyResult<String> {
        Ok("<RustWaiter>".to_owned())
    }
}

/// `CancelledError(message)`, or without a message for `None`.
pub(super) fn cancelled_error(py: Python<'_>, message: &Py<PyAny>) -> PyResult<PyErr> {
    static CANCELLED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = make::imported(&CANCELLED, py, "asyncio.exceptions", "CancelledError")?;
    Ok(PyErr::from_value(if message.is_none(py) {
        class.call0()?
    } else {
        class.call1((message,))?
    }))
}

type This = Waiter;

settable!(
    Blocking,
    c"_asyncio_future_blocking",
    |this| {
        let blocking = data(this).blocking.load(Ordering::Relaxed);
        Ok(make::boolean(this.py(), blocking))
    },
    |this, value| {
        data(this)
            .blocking
            .store(value.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }
);

attribute!(Loop, c"_loop", |this| {
    Ok(data(this).core.bind(this.py()).clone().into_any())
});

method!(GetLoop, "get_loop", "The event loop.", |this| Loop::get(
    this
));

method!(
    AddDoneCallback,
    "add_done_callback",
    "($self, fn, /, *, context=None)",
    "Call `fn(self)` in `context` when the awaiting task is to go on.",
    |this, arguments| {
        let py = this.py();
        let (Some(function), 1) = (arguments.get(0), arguments.len()) else {
            return Err(PyTypeError::new_err("add_done_callback() takes a function"));
        };
        let context = arguments.only_context();
        let context = match context.filter(|context| !context.is_none()) {
            Some(context) => context.to_owned(),
            None => copy_current(py)?,
        };
        let callback = Callback {
            function: function.to_owned().unbind(),
            context: context.clone().unbind(),
            waiter: this.clone().unbind(),
        };
        let core = &data(this).core;
        if !data(this).pending.wait(py, core.get(), callback)? {
            // It ended before a callback was added.
            let keywords = make::dict(py)?;
            keywords.set_item(name!(py, "context"), context)?;
            core.bind(py)
                .getattr(name!(py, "call_soon"))?
                .call((function, this.as_any()), Some(&keywords))?;
        }
        Ok(make::none(py))
    }
);

method!(
    RemoveDoneCallback,
    "remove_done_callback",
    "($self, fn, /)",
    "Remove the callback; return the number of callbacks removed.",
    |this, arguments| {
        arguments.expect("remove_done_callback", 1, 1)?;
        let py = this.py();
        let core = data(this).core.get();
        let removed = data(this).pending.wait_no_more(py, core)?;
        Ok(u8::from(removed).into_pyobject(py)?.into_any())
    }
);

method!(
    Cancel,
    "cancel",
    "($self, msg=None)",
    "Make the waiting task raise `CancelledError`; return whether it will.",
    |this, arguments| {
        let py = this.py();
        let message = arguments
            .get(0)
            .or_else(|| arguments.single_keyword(name!(arguments.py(), "msg")))
            .map_or_else(|| py.None(), |message| message.to_owned().unbind());
        let core = data(this).core.get();
        let done = data(this).pending.cancel_wait(py, core, message)?;
        Ok(make::boolean(py, done))
    }
);

method!(Done, "done", "Whether the Rust future has ended.", |this| {
    let py = this.py();
    let done = data(this).pending.is_done(py, data(this).core.get())?;
    Ok(make::boolean(py, done))
});

method!(
    Outcome,
    "result",
    "Raise `CancelledError` if the wait was cancelled; the awaitable returns the result itself.",
    |this| {
        let py = this.py();
        let core = data(this).core.get();
        match data(this).pending.take_cancellation(py, core)? {
            Some(message) => Err(cancelled_error(py, &message)?),
            None => Ok(make::none(py)),
        }
    }
);
