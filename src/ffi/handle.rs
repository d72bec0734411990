//! The memory of `Handle` and `TimerHandle`, the objects that are allocated most often.
//!
//! They are real subclasses of asyncio's, with up to four inline arguments and a free list. Everything that asyncio's
//! own methods read and write (`_callback`, `_args`, `_when`, …) is an attribute over this memory.
//!
//! `handle_collector` decides when the garbage collector tracks them.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::args::Args;
pub(crate) use super::handle_cancel::{cancel, is_cancelled, is_queued, let_go, set_unscheduled};
use super::handle_class::make;
use super::handle_fields::{ELSEWHERE, Fields, INLINE, PLAIN, THREAD_SAFE, TIMER, fields};
pub(crate) use super::handle_fields::{Handle, HandleKind};
use super::handle_memory as memory;
pub(crate) use super::handle_run::{run, wait_until_ended};
use super::make;
use super::method::Members;
use super::reference::{new_truth, owned, release};

/// The parts of a new handle.
#[derive(Clone, Copy)]
pub(crate) struct HandleParts<'a, 'py> {
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
    pub(crate) callback: Borrowed<'a, 'py, PyAny>,
    pub(crate) arguments: Args<'a, 'py>,
    /// Index in `arguments` of the callback's first argument.
    pub(crate) first: usize,
    /// `None` means a copy of the current context.
    pub(crate) context: Option<Borrowed<'a, 'py, PyAny>>,
    /// Seconds on the loop's clock; only used for a timer.
    pub(crate) when: f64,
    pub(crate) kind: HandleKind,
    /// Whether the collector tracks it from the start.
    pub(crate) tracked: bool,
}

/// Creates the classes with these members, in addition to the attributes that asyncio's methods read.
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

/// Creates a handle.
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
    // Arguments that do not fit count as none inline; `args` takes precedence.
    let count = u8::try_from(inline.len()).unwrap_or(ELSEWHERE);
    let contents = contents(parts, context, args, arguments, count);
    // SAFETY: `allocate` returned a block of this class.
    let place = unsafe { fields(object) };
    // SAFETY: the block has room for the fields, and holds nothing there that needs dropping.
    unsafe { place.write(contents) };
    if parts.tracked {
        // SAFETY: all fields are initialised now.
        unsafe { ffi::PyObject_GC_Track(object.cast()) };
    }
    // SAFETY: a new reference to a handle.
    Ok(unsafe { owned(py, object) })
}

/// The fields of a new handle; takes over the references in `args` and `arguments`.
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

/// The callback's arguments as a tuple. Takes its parameters by value, so that `HandleParts` stays in registers.
#[cold]
fn gather<'py>(arguments: Args<'_, 'py>, first: usize) -> PyResult<Bound<'py, PyTuple>> {
    let all = (first..arguments.len()).filter_map(|index| arguments.get(index));
    make::tuple(arguments.py(), &all.collect::<Vec<_>>())
}

/// Returns `object` as one of this crate's handles, if it is one.
pub(crate) fn downcast<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Handle>> {
    let class = object.get_type_ptr();
    let ours = [&PLAIN, &TIMER, &THREAD_SAFE]
        .iter()
        .any(|known| known.object() == class);
    // SAFETY: its class is exactly one of ours, which allow no subclasses.
    ours.then(|| unsafe { object.cast_unchecked() })
}
