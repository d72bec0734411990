//! The memory of `Handle` and `TimerHandle`: the objects allocated most often.
//!
//! Real subclasses of asyncio's, with up to four arguments inline and a free list. Everything that asyncio's own methods
//! read and write (`_callback`, `_args`, `_when`, …) is an attribute over this memory.
//!
//! When the collector hears of them is the matter of `handle_collector`.

use std::ptr::{self, NonNull};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::class::Class;
use super::handle_class::make;
use super::handle_memory as memory;
pub(crate) use super::handle_run::{run, wait_until_ended};
use super::handle_words::{Word, set_word};
use super::make;
use super::method::{Args, Members};
use super::reference::{new_none, new_truth, owned, release, truth};

/// An instance of `Handle` or `TimerHandle`; `Py<Handle>` points at either.
#[derive(Debug)]
pub(crate) struct Handle(());

/// Which of the two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleKind {
    Plain,
    Timer,
    /// Whoever cancels it on another thread waits for a callback that has started (Python 3.14).
    ThreadSafe,
}

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

/// The words up to `scratch` lie where asyncio's classes have their own slots, each under its own name (`handle_words`).
///
/// So asyncio's slot descriptors (`asyncio.Handle._callback.__set__(handle, …)`) read and write them past us, at
/// any time while attached: what they hold may be anything, and be replaced during a call. Whatever else needs to
/// be relied on lies behind them.
///
/// # Invariant
///
/// Pointers are owned references or null. `arguments` are those of a callback with as many as `count` says; they stay
/// as they are while `running`. On free-threaded builds all are read and written inside the handle's critical section.
#[repr(C)]
pub(super) struct Fields {
    /// Null for arguments that are inline; a tuple for more than fit; then whatever was set.
    pub(super) args: *mut ffi::PyObject,
    pub(super) callback: *mut ffi::PyObject,
    /// `False` for as long as the callback is to run.
    pub(super) cancelled: *mut ffi::PyObject,
    pub(super) context: *mut ffi::PyObject,
    pub(super) event_loop: *mut ffi::PyObject,
    pub(super) repr: *mut ffi::PyObject,
    pub(super) source_traceback: *mut ffi::PyObject,
    /// The interpreter's; later ones keep it in front of the object.
    #[cfg(not(Py_3_12))]
    pub(super) weak_references: *mut ffi::PyObject,
    /// A timer's `_scheduled`, or the `_lock` of a thread-safe handle.
    pub(super) scheduled: *mut ffi::PyObject,
    /// A timer's `_when` as it was given, where that was no float.
    pub(super) given_when: *mut ffi::PyObject,
    /// The slot in front of the arguments that a callee may use.
    pub(super) scratch: *mut ffi::PyObject,
    pub(super) arguments: [*mut ffi::PyObject; INLINE],
    pub(super) when: f64,
    /// How many arguments are inline, or `ELSEWHERE`.
    pub(super) count: u8,
    /// A timer is in the loop's heap.
    pub(super) queued: bool,
    /// The callback runs: its inline arguments stay, whatever happens.
    pub(super) running: bool,
    /// The collector knows it.
    pub(super) tracked: bool,
    /// Somebody waits for the callback's end.
    pub(super) awaited: bool,
}

/// The arguments are what `args` holds.
pub(super) const ELSEWHERE: u8 = u8::MAX;

/// Arguments held without a tuple: asyncio's own callbacks have at most two.
pub(super) const INLINE: usize = 4;

pub(super) static PLAIN: Class = Class::new();
pub(super) static TIMER: Class = Class::new();
pub(super) static THREAD_SAFE: Class = Class::new();

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
    let is_timer = parts.kind == HandleKind::Timer;
    let contents = Fields {
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
    };
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

/// The callback's arguments as a tuple. Takes what it needs by value: `HandleParts` stays in registers.
#[cold]
fn gather<'py>(arguments: Args<'_, 'py>, first: usize) -> PyResult<Bound<'py, PyTuple>> {
    let all = (first..arguments.len()).filter_map(|index| arguments.get(index));
    make::tuple(arguments.py(), &all.collect::<Vec<_>>())
}

impl HandleKind {
    #[inline]
    pub(super) fn class(self) -> &'static Class {
        match self {
            Self::Plain => &PLAIN,
            Self::Timer => &TIMER,
            Self::ThreadSafe => &THREAD_SAFE,
        }
    }
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

/// Keeps the callback from running; `false` when that was done before.
pub(crate) fn cancel(handle: &Bound<'_, Handle>) -> bool {
    let py = handle.py();
    let access = |fields: &mut Fields| {
        if fields.cancelled == truth(true) {
            return None;
        }
        Some(std::mem::replace(
            &mut fields.cancelled,
            new_truth(py, true),
        ))
    };
    // SAFETY: runs no Python code; what the field owned goes to the caller.
    let Some(before) = (unsafe { with(handle, access) }) else {
        return false;
    };
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(before) };
    true
}

/// Lets go of callback and arguments of a cancelled handle, called once or again. `repr`, given once, is what
/// it shows itself as from now on.
pub(crate) fn let_go(handle: &Bound<'_, Handle>, repr: Option<Bound<'_, PyAny>>) {
    if let Some(repr) = repr {
        set_word(handle, Word::Repr, Some(repr));
    }
    let py = handle.py();
    let access = |fields: &mut Fields| {
        let inline = if fields.running {
            fields.count = ELSEWHERE;
            [ptr::null_mut(); INLINE] // `run` comes back to them.
        } else {
            fields.count = 0;
            std::mem::replace(&mut fields.arguments, [ptr::null_mut(); INLINE])
        };
        (
            std::mem::replace(&mut fields.callback, new_none(py)),
            std::mem::replace(&mut fields.args, new_none(py)),
            inline,
        )
    };
    // SAFETY: runs no Python code; what the fields owned goes to the caller.
    let (callback, args, inline) = unsafe { with(handle, access) };
    // Released out here: a destructor may run any Python code, and look at this handle.
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(callback) };
    // SAFETY: as above.
    unsafe { release(args) };
    for argument in inline {
        // SAFETY: as above.
        unsafe { release(argument) };
    }
}

/// Whether the handle was cancelled.
#[inline]
pub(crate) fn is_cancelled(handle: &Bound<'_, Handle>) -> bool {
    // SAFETY: only looks.
    unsafe { with(handle, |fields| fields.cancelled != truth(false)) }
}

/// Whether a timer waits in the loop's heap.
pub(crate) fn is_queued(handle: &Bound<'_, Handle>) -> bool {
    // SAFETY: only looks.
    unsafe { with(handle, |fields| fields.queued) }
}

/// Notes that a timer left the loop's heap.
pub(crate) fn set_unscheduled(handle: &Bound<'_, Handle>) {
    let py = handle.py();
    let access = |fields: &mut Fields| {
        fields.queued = false;
        std::mem::replace(&mut fields.scheduled, new_truth(py, false))
    };
    // SAFETY: runs no Python code; what the field owned goes to the caller.
    let before = unsafe { with(handle, access) };
    // SAFETY: attached; the reference that the field owned, or null.
    unsafe { release(before) };
}

/// The fields, under the handle's lock where there is no GIL.
///
/// # Safety
///
/// `access` runs no Python code and leaves the fields as their invariant says: a reference that it takes out of one is
/// the caller's to release.
#[inline]
pub(super) unsafe fn with<R>(
    handle: &Bound<'_, Handle>,
    access: impl FnOnce(&mut Fields) -> R,
) -> R {
    // SAFETY: `Bound` keeps it alive.
    let place = unsafe { fields(handle.as_ptr()) };
    #[cfg(Py_GIL_DISABLED)]
    return pyo3::sync::critical_section::with_critical_section(handle.as_any(), || {
        // SAFETY: `place` points into the live handle. The critical section is held until `access` returns, which runs
        // no Python code that could leave it: this is the only borrow.
        access(unsafe { &mut *place })
    });
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: `place` points into the live handle; `access` runs no Python code, so with the GIL held
    // this is the only borrow.
    access(unsafe { &mut *place })
}

/// Where the fields of a handle are.
///
/// # Safety
///
/// `handle` points at the memory of a handle: its fields need not be there yet, or any more.
#[inline]
pub(super) unsafe fn fields(handle: *mut ffi::PyObject) -> *mut Fields {
    // SAFETY: an instance of each class has room for its fields behind the head: `make` puts it there.
    unsafe { handle.byte_add(SLOTS) }.cast()
}

/// Where a class without other bases has its slots: behind the head.
pub(super) const SLOTS: usize = size_of::<ffi::PyObject>();

impl Fields {
    /// Shows `visit` each object that is held, until it fails.
    #[inline]
    pub(super) fn objects<E>(
        &self,
        mut visit: impl FnMut(NonNull<ffi::PyObject>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut visit = |pointer| NonNull::new(pointer).map_or(Ok(()), &mut visit);
        visit(self.event_loop)?;
        visit(self.callback)?;
        visit(self.context)?;
        for argument in self.inline() {
            visit(*argument)?;
        }
        // The collector has no interest in what nearly all have here, and there may be many handles.
        if self.cancelled != truth(false) {
            visit(self.cancelled)?;
        }
        if self.scheduled != truth(true) {
            visit(self.scheduled)?;
        }
        self.rare().into_iter().flatten().try_for_each(visit)
    }

    /// The arguments that are inline. `ELSEWHERE` is more than fit: all places are looked at then.
    #[inline]
    pub(super) fn inline(&self) -> &[*mut ffi::PyObject] {
        &self.arguments[..usize::from(self.count).min(INLINE)]
    }

    /// What few handles have; `None` when this one has nothing of it.
    #[inline]
    pub(super) fn rare(&self) -> Option<[*mut ffi::PyObject; 4]> {
        let all = [self.args, self.source_traceback, self.repr, self.given_when];
        let has_any = all.iter().fold(0, |all, field| all | field.addr()) != 0;
        has_any.then_some(all)
    }
}
