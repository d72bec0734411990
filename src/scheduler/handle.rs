//! `Handle` and `TimerHandle`: the Python view of a scheduled callback.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::Core;
use super::origin::Origin;
use crate::ffi::handle::{self, Handle};
use crate::ffi::handle_words::{self, Word};
use crate::ffi::{
    Attribute, Members, Settable, light_method, make, members, method, name, settable,
};

/// Creates the classes.
pub(crate) fn make_classes(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyType>>> {
    handle::make_classes(
        py,
        plain,
        || plain().settable::<When>().settable::<Held<{ SCHEDULED }>>(),
        || plain().settable::<Lock>(),
    )
}

fn plain() -> Members {
    members!(Members::default();
        methods: Cancel, Cancelled, GetContext;
        settables: Held<{ LOOP }>, Held<{ CALLBACK }>, Held<{ CONTEXT }>, Held<{ SOURCE_TRACEBACK
            }>, Held<{ REPR }>, Arguments, IsCancelled)
}

/// Records what created the handle: in debug mode the stack, otherwise as much as `origins` asks for.
#[cold]
pub(crate) fn trace_source(handle: &Bound<'_, Handle>) -> PyResult<()> {
    static EXTRACT_STACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = handle.py();
    let event_loop = handle_words::expect_word(handle, Word::Loop)?;
    let lines = (event_loop.cast::<Core>()).map_or(0, |core| core.get().shared.traces.lines());
    if lines != 0 {
        if let Some(origin) = Origin::of_call(py, lines)? {
            handle_words::set_source_traceback(handle, origin.into_any());
        }
        return Ok(());
    }
    let extract = make::imported(
        &EXTRACT_STACK,
        py,
        "asyncio.format_helpers",
        "extract_stack",
    )?;
    handle_words::set_source_traceback(handle, extract.call0()?);
    Ok(())
}

/// Cancels the handle; in debug mode, keeps its `repr` from before.
fn cancel(this: &Bound<'_, Handle>) -> PyResult<()> {
    let py = this.py();
    let event_loop = handle_words::expect_word(this, Word::Loop)?;
    let core = event_loop.cast::<Core>().ok();
    if let Some(core) = core {
        wait_for_callback(core, this);
    }
    if !handle::cancel(this) {
        return Ok(());
    }
    let is_debug = match core {
        Some(core) => core.get().is_debug(),
        // `_loop` is an object that the program has set.
        None => event_loop
            .call_method0(name!(py, "get_debug"))?
            .is_truthy()?,
    };
    let repr = if is_debug {
        Some(this.as_any().repr()?.into_any())
    } else {
        None
    };
    handle::let_go(this, repr);
    if handle::is_queued(this)
        && let Some(core) = core
    {
        let core = core.get();
        match core.try_local(py) {
            Some(local) => {
                core.shared.meters.timers_cancelled.count();
                local.deadlines.note_cancelled(py);
            }
            // The loop is at work on another thread, which sweeps.
            None => core.shared.count_cancelled_timer(),
        }
    }
    Ok(())
}

/// Since Python 3.14, cancelling a handle of `call_soon_threadsafe` in another thread guarantees that the callback
/// has ended or will never start.
fn wait_for_callback(core: &Bound<'_, Core>, this: &Bound<'_, Handle>) {
    if cfg!(Py_3_14) && !core.get().owner().is_running_here(core.py()) {
        handle::wait_until_ended(this);
    }
}

type This = Handle;

light_method!(
    Cancel,
    "cancel",
    "Keep the callback from running, and release it and its arguments.",
    |this| {
        cancel(this)?;
        Ok(make::none(this.py()))
    }
);

method!(
    Cancelled,
    "cancelled",
    "Whether the callback was cancelled.",
    |this| {
        if let Ok(core) = handle_words::expect_word(this, Word::Loop)?.cast::<Core>() {
            wait_for_callback(core, this);
        }
        IsCancelled::get(this)
    }
);

method!(
    GetContext,
    "get_context",
    "The `contextvars.Context` that the callback runs in.",
    |this| handle_words::expect_word(this, Word::Context)
);

settable!(
    IsCancelled,
    c"_cancelled",
    |this| handle_words::expect_word(this, Word::Cancelled),
    |this, value| {
        let value = make::boolean(this.py(), value.is_truthy()?);
        handle_words::set_word(this, Word::Cancelled, Some(value));
        Ok(())
    },
    |this| {
        handle_words::set_word(this, Word::Cancelled, None);
        Ok(())
    }
);

settable!(
    Arguments,
    c"_args",
    |this| handle_words::arguments(this),
    |this, value| {
        handle_words::set_word(this, Word::Args, Some(value.clone()));
        Ok(())
    },
    |this| {
        handle_words::set_word(this, Word::Args, None);
        Ok(())
    }
);

// Informational only: the heap keeps the deadline with which the timer was scheduled.
settable!(
    When,
    c"_when",
    |this| Ok(handle_words::when(this)),
    |this, value| {
        handle_words::set_word(this, Word::When, Some(value.clone()));
        Ok(())
    }
);

// The `RLock` that the methods of asyncio's class take; ours do not need it.
settable!(
    Lock,
    c"_lock",
    |this| {
        static RLOCK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if let Some(lock) = handle_words::word(this, Word::Lock) {
            return Ok(lock);
        }
        let lock = make::imported(&RLOCK, this.py(), "threading", "RLock")?.call0()?;
        Ok(handle_words::word_or_insert(this, Word::Lock, lock))
    },
    |this, value| {
        handle_words::set_word(this, Word::Lock, Some(value.clone()));
        Ok(())
    }
);

/// One of the objects that a handle holds, under asyncio's name for it.
struct Held<const WHICH: usize>;

const LOOP: usize = 0;
const CALLBACK: usize = 1;
const CONTEXT: usize = 2;
const SOURCE_TRACEBACK: usize = 3;
const REPR: usize = 4;
const SCHEDULED: usize = 5;

const HELD: [(&CStr, Word); 6] = [
    (c"_loop", Word::Loop),
    (c"_callback", Word::Callback),
    (c"_context", Word::Context),
    (c"_source_traceback", Word::SourceTraceback),
    (c"_repr", Word::Repr),
    (c"_scheduled", Word::Scheduled),
];

impl<const WHICH: usize> Attribute for Held<WHICH> {
    type Receiver = Handle;
    const NAME: &'static CStr = HELD[WHICH].0;

    fn get<'py>(this: &Bound<'py, Handle>) -> PyResult<Bound<'py, PyAny>> {
        match HELD[WHICH].1 {
            // Most handles have neither; the attribute is then `None`.
            word @ (Word::Repr | Word::SourceTraceback) => {
                let Some(held) = handle_words::word(this, word) else {
                    return Ok(make::none(this.py()));
                };
                let Ok(origin) = held.cast_exact::<Origin>() else {
                    return Ok(held);
                };
                let summary = origin.get().summary(this.py())?;
                handle_words::set_word(this, word, Some(summary.clone()));
                Ok(summary)
            }
            word => handle_words::expect_word(this, word),
        }
    }
}

impl<const WHICH: usize> Settable for Held<WHICH> {
    fn set(this: &Bound<'_, Handle>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        handle_words::set_word(this, HELD[WHICH].1, Some(value.clone()));
        Ok(())
    }

    fn delete(this: &Bound<'_, Handle>) -> PyResult<()> {
        handle_words::set_word(this, HELD[WHICH].1, None);
        Ok(())
    }
}
