//! What a task waits on while the Rust future that it awaits is pending.
//!
//! asyncio's tasks accept anything that has `_asyncio_future_blocking` and a future's methods. The awaitable itself
//! must not: `asyncio.isfuture` would then hold it for one that somebody else drives.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyType};

use super::pending::{Callback, Pending};
use crate::ffi::context::copy_current;
use crate::ffi::{
    Args, Attribute, Class, FastMethod, Members, NativeClass, Settable, Visitor, data, make, name,
    new_instance,
};
use crate::scheduler::Core;

/// `RustWaiter`: one for each awaitable, used for as many suspensions as there are.
#[derive(Debug)]
pub(crate) struct Waiter {
    core: Py<Core>,
    pending: Arc<Pending>,
    /// asyncio's mark that the object was yielded by an `await`. Relaxed: set and read by one task's steps.
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
    /// Marks it as just yielded.
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

    fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        Ok(py.get_type::<PyAny>())
    }

    fn members() -> Members {
        Members::default()
            .settable::<Blocking>()
            .attribute::<Loop>()
            .method::<GetLoop>()
            .method::<AddDoneCallback>()
            .method::<RemoveDoneCallback>()
            .method::<Cancel>()
            .method::<Done>()
            .method::<Outcome>()
    }

    fn traverse(&self, visitor: &mut Visitor<'_>) {
        visitor.object(&self.core);
    }

    fn clear(&self, _py: Python<'_>) {}

    fn finalize(_this: &Bound<'_, Self>) {}

    fn repr(_this: &Bound<'_, Self>) -> PyResult<String> {
        Ok("<RustWaiter>".to_owned())
    }
}

/// `CancelledError(message)`, or without one for `None`.
pub(super) fn cancelled_error(py: Python<'_>, message: &Py<PyAny>) -> PyResult<PyErr> {
    static CANCELLED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = make::imported(&CANCELLED, py, "asyncio.exceptions", "CancelledError")?;
    Ok(PyErr::from_value(if message.is_none(py) {
        class.call0()?
    } else {
        class.call1((message,))?
    }))
}

struct Blocking;

impl Attribute for Blocking {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"_asyncio_future_blocking";

    fn get<'py>(this: &Bound<'py, Waiter>) -> PyResult<Bound<'py, PyAny>> {
        let blocking = data(this).blocking.load(Ordering::Relaxed);
        Ok(PyBool::new(this.py(), blocking).to_owned().into_any())
    }
}

impl Settable for Blocking {
    fn set(this: &Bound<'_, Waiter>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        data(this)
            .blocking
            .store(value.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }
}

struct Loop;

impl Attribute for Loop {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"_loop";

    fn get<'py>(this: &Bound<'py, Waiter>) -> PyResult<Bound<'py, PyAny>> {
        Ok(data(this).core.bind(this.py()).clone().into_any())
    }
}

struct GetLoop;

impl FastMethod for GetLoop {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"get_loop";
    const DOC: &'static CStr = c"get_loop($self)\n--\n\nThe event loop.";

    fn call<'py>(
        this: &Bound<'py, Waiter>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("get_loop", 0, 0)?;
        Loop::get(this)
    }
}

struct AddDoneCallback;

impl FastMethod for AddDoneCallback {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"add_done_callback";
    const DOC: &'static CStr = c"add_done_callback($self, fn, /, *, context=None)\n--\n\n\
        Call `fn(self)` in `context` when the awaiting task is to go on.";

    fn call<'py>(
        this: &Bound<'py, Waiter>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let (Some(function), 1) = (arguments.get(0), arguments.len()) else {
            return Err(PyTypeError::new_err("add_done_callback() takes a function"));
        };
        let context = arguments.single_keyword(name!(arguments.py(), "context"));
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
            // Ended before anybody waited.
            let keywords = make::dict(py)?;
            keywords.set_item(name!(py, "context"), context)?;
            core.bind(py)
                .getattr(name!(py, "call_soon"))?
                .call((function, this.as_any()), Some(&keywords))?;
        }
        Ok(py.None().into_bound(py))
    }
}

struct RemoveDoneCallback;

impl FastMethod for RemoveDoneCallback {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"remove_done_callback";
    const DOC: &'static CStr = c"remove_done_callback($self, fn, /)\n--\n\n\
        Forget what `add_done_callback` was given; return how many that were.";

    fn call<'py>(
        this: &Bound<'py, Waiter>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("remove_done_callback", 1, 1)?;
        let py = this.py();
        let core = data(this).core.get();
        let removed = data(this).pending.wait_no_more(py, core)?;
        Ok(u8::from(removed).into_pyobject(py)?.into_any())
    }
}

struct Cancel;

impl FastMethod for Cancel {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"cancel";
    const DOC: &'static CStr = c"cancel($self, msg=None)\n--\n\n\
        Have the waiting task raise `CancelledError`; whether it will.";

    fn call<'py>(
        this: &Bound<'py, Waiter>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let message = arguments
            .get(0)
            .or_else(|| arguments.single_keyword(name!(arguments.py(), "msg")))
            .map_or_else(|| py.None(), |message| message.to_owned().unbind());
        let core = data(this).core.get();
        let done = data(this).pending.cancel_wait(py, core, message)?;
        Ok(PyBool::new(py, done).to_owned().into_any())
    }
}

struct Done;

impl FastMethod for Done {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"done";
    const DOC: &'static CStr = c"done($self)\n--\n\nWhether the Rust future has ended.";

    fn call<'py>(
        this: &Bound<'py, Waiter>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("done", 0, 0)?;
        let py = this.py();
        let done = data(this).pending.is_done(py, data(this).core.get())?;
        Ok(PyBool::new(py, done).to_owned().into_any())
    }
}

struct Outcome;

impl FastMethod for Outcome {
    type Receiver = Waiter;
    const NAME: &'static CStr = c"result";
    const DOC: &'static CStr = c"result($self)\n--\n\n\
        Raise `CancelledError` when the waiting was cancelled; the result itself is the awaitable's.";

    fn call<'py>(
        this: &Bound<'py, Waiter>,
        arguments: Args<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        arguments.expect("result", 0, 0)?;
        let py = this.py();
        let core = data(this).core.get();
        match data(this).pending.take_cancellation(py, core)? {
            Some(message) => Err(cancelled_error(py, &message)?),
            None => Ok(py.None().into_bound(py)),
        }
    }
}
