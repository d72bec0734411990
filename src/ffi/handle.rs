//! The memory of `Handle` and `TimerHandle`: the objects allocated most often.
//!
//! Real subclasses of asyncio's, with up to four arguments inline and a free list. Everything that asyncio's own methods
//! read and write (`_callback`, `_args`, `_when`, …) is an attribute over this memory.
//!
//! When the collector hears of them is the matter of `handle_collector`.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

pub(crate) use super::handle_cancel::{cancel, is_cancelled, is_queued, let_go, set_unscheduled};
use super::handle_class::make;
use super::handle_fields::{ELSEWHERE, Fields, INLINE, PLAIN, THREAD_SAFE, TIMER, fields};
pub(crate) use super::handle_fields::{Handle, HandleKind};
use super::handle_memory as memory;
pub(crate) use super::handle_run::{run, wait_until_ended};
use super::make;
use super::method::{Args, Members};
use super::reference::{new_truth, owned, release};

/// What a new handle is made of.
#[derive(Clone, Copy)]
pub(crate) struct HandleParts<'a, 'py> {
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
    pub(crate) callback: Borrowed<'a, 'py, PyAny>,
    pub(crate) arguments: Args<'a, 'py>,
    /// The first of `arguments` that belongs to the callback.
    pub(crate) first: usize,
    /// `None` copies the current one.
    pub(crate) context: Option<Borrowed<'a, 'py, PyAny>>,
    /// Seconds on the loop's clock; of meaning to a timer only.
    pub(crate) when: f64,
    pub(crate) kind: HandleKind,
    /// The collector is told of it at once.
    pub(crate) tracked: bool,
}

/// Makes the classes with these members beside the attributes that asyncio's methods read.
pub(crate) fn make_classes(
    py: Python<'_>,
    plain: fn() -> Members,
    timer: fn() -> Members,
    thread_safe: fn() -> Members,
) -> PyResult<Vec<Bound<'_, PyType>>> {
    let events = py.import("asyncio.events")?;
    let base = |name| Ok::<_, PyErr>(events.getattr(name)?.cast_into::<PyType>()?);
    let mut classes = vec![
        make(
            c"yamanote._yamanote.Handle",
            &base("Handle")?,
            plain(),
            HandleKind::Plain,
        )?,
        make(
            c"yamanote._yamanote.TimerHandle",
            &base("TimerHandle")?,
            timer(),
            HandleKind::Timer,
        )?,
    ];
    if cfg!(Py_3_14) {
        let name = c"yamanote._yamanote.ThreadSafeHandle";
        classes.push(make(
            name,
            &base("_ThreadSafeHandle")?,
            thread_safe(),
            HandleKind::ThreadSafe,
        )?);
    }
    Ok(classes)
}

/// A new handle.
#[inline]
pub(crate) fn new<'py>(parts: &HandleParts<'_, 'py>) -> PyResult<Bound<'py, Handle>> {
    let py = parts.arguments.py();
    let context = match parts.context {
        Some(context) => context.to_owned(),
        None => super::context::copy_current(py)?,
    };
    let given = parts.arguments.raw_from(parts.first);
    let mut arguments = [ptr::null_mut(); INLINE];
    let (inline, args) = if given.len() > INLINE {
        let tuple = gather(parts.arguments, parts.first)?;
        (&[][..], tuple.into_ptr())
    } else {
        (given, ptr::null_mut())
    };
    let object = memory::allocate(py, parts.kind).inspect_err(|_| {
        // SAFETY: attached; null, or the tuple made above, which is not used afterwards.
        unsafe { release(args) };
    })?;
    for (slot, argument) in arguments.iter_mut().zip(inline) {
        // SAFETY: attached; the interpreter keeps every argument alive for the length of the call.
        *slot = unsafe { ffi::Py_NewRef(*argument) };
    }
    // Too many count as none, and `args` comes first.
    let count = u8::try_from(inline.len()).unwrap_or(ELSEWHERE);
    let contents = contents(parts, context, args, arguments, count);
    // SAFETY: `allocate` gave a block of this class.
    let place = unsafe { fields(object) };
    // SAFETY: there is room for the fields, and nothing that needs dropping is there.
    unsafe { place.write(contents) };
    if parts.tracked {
        // SAFETY: complete now.
        unsafe { ffi::PyObject_GC_Track(object.cast()) };
    }
    // SAFETY: a new reference to a handle.
    Ok(unsafe { owned(py, object) })
}

/// What a new handle's fields hold; takes over the references in `args` and `arguments`.
#[inline]
fn contents(
    parts: &HandleParts<'_, '_>,
    context: Bound<'_, PyAny>,
    args: *mut ffi::PyObject,
    arguments: [*mut ffi::PyObject; INLINE],
    count: u8,
) -> Fields {
    let py = context.py();
    let is_timer = parts.kind == HandleKind::Timer;
    Fields {
        args,
        callback: parts.callback.to_owned().into_ptr(),
        cancelled: new_truth(py, false),
        context: context.into_ptr(),
        event_loop: parts.event_loop.clone().into_ptr(),
        repr: ptr::null_mut(),
        source_traceback: ptr::null_mut(),
        #[cfg(not(Py_3_12))]
        weak_references: ptr::null_mut(),
        scheduled: if is_timer {
            new_truth(py, true)
        } else {
            ptr::null_mut()
        },
        given_when: ptr::null_mut(),
        scratch: ptr::null_mut(),
        arguments,
        when: parts.when,
        count,
        queued: is_timer,
        running: false,
        tracked: parts.tracked,
        awaited: false,
    }
}

/// The callback's arguments as a tuple. Takes what it needs by value: `HandleParts` stays in registers.
#[cold]
fn gather<'py>(arguments: Args<'_, 'py>, first: usize) -> PyResult<Bound<'py, PyTuple>> {
    let all = (first..arguments.len()).filter_map(|index| arguments.get(index));
    make::tuple(arguments.py(), &all.collect::<Vec<_>>())
}

/// `object` as a handle of ours, if it is one.
pub(crate) fn downcast<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Handle>> {
    let class = object.get_type_ptr();
    let ours = [&PLAIN, &TIMER, &THREAD_SAFE]
        .iter()
        .any(|known| known.object() == class);
    // SAFETY: its class is one of ours, exactly: they allow no subclasses.
    ours.then(|| unsafe { object.cast_unchecked() })
}
