//! The memory of `Handle` and `TimerHandle`: the objects allocated most often.
//!
//! Real subclasses of asyncio's two, with up to four arguments inline and a free list. Everything that
//! asyncio's own methods read (`_callback`, `_args`, `_when`, …) is an attribute over this memory.
//!
//! When the collector hears of them is the matter of `handle_collector`.

use std::ptr;
use std::sync::{Condvar, Mutex, PoisonError};

#[cfg(Py_3_12)]
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::call::vectorcall;
use super::class::{Class, Layout};
use super::context::run_in;
use super::handle_class::make;
use super::handle_memory as memory;
use super::method::{Args, Members};
use super::reference::{borrowed, owned, returned};

/// An instance of `Handle` or `TimerHandle`; `Py<Handle>` points at either.
#[derive(Debug)]
pub(crate) struct Handle(());

/// Which of the two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Timer,
    /// Whoever cancels it on another thread waits for a callback that has started (Python 3.14).
    ThreadSafe,
}

/// What a new handle is made of.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a, 'py> {
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
    pub(crate) callback: Borrowed<'a, 'py, PyAny>,
    pub(crate) arguments: Args<'a, 'py>,
    /// The first of `arguments` that belongs to the callback.
    pub(crate) first: usize,
    /// `None` copies the current one.
    pub(crate) context: Option<Borrowed<'a, 'py, PyAny>>,
    /// Seconds on the loop's clock; of meaning to a timer only.
    pub(crate) when: f64,
    pub(crate) kind: Kind,
    /// The collector is told of it at once.
    pub(crate) tracked: bool,
}

/// The first seven words lie, from Python 3.12 on, where asyncio's class has its own slots (`Layout::over`).
///
/// # Invariant
///
/// Pointers are owned references or null. `callback` is null soon after `cancelled` is set, and then so are `arguments` and `more`.
/// On free-threaded builds they are read and written inside the handle's critical section.
#[repr(C)]
pub(super) struct Fields {
    pub(super) context: *mut ffi::PyObject,
    pub(super) callback: *mut ffi::PyObject,
    /// The slot in front of the arguments that a callee may use.
    pub(super) scratch: *mut ffi::PyObject,
    pub(super) arguments: [*mut ffi::PyObject; INLINE],
    pub(super) event_loop: *mut ffi::PyObject,
    /// A tuple with all of them, when there are more than fit.
    pub(super) more: *mut ffi::PyObject,
    pub(super) source_traceback: *mut ffi::PyObject,
    pub(super) repr: *mut ffi::PyObject,
    pub(super) when: f64,
    pub(super) count: u32,
    pub(super) cancelled: bool,
    pub(super) scheduled: bool,
    /// The callback runs: its parts stay, whatever happens.
    pub(super) running: bool,
    /// The collector knows it.
    pub(super) tracked: bool,
    /// Somebody waits for the callback's end.
    pub(super) awaited: bool,
    /// `when` was given as an integer.
    pub(super) whole: bool,
}

/// Arguments held without a tuple: asyncio's own callbacks have at most two.
pub(super) const INLINE: usize = 4;

pub(super) static PLAIN: Class = Class::new();
pub(super) static TIMER: Class = Class::new();
static THREAD_SAFE: Class = Class::new();

/// Makes the classes with these members beside the attributes that asyncio's methods read.
pub(crate) fn make_classes(
    py: Python<'_>,
    plain: fn() -> Members,
    timer: fn() -> Members,
) -> PyResult<Vec<Bound<'_, PyType>>> {
    let events = py.import("asyncio.events")?;
    let base = |name| Ok::<_, PyErr>(events.getattr(name)?.cast_into::<PyType>()?);
    let mut classes = vec![
        make(
            c"yamanote._yamanote.Handle",
            &base("Handle")?,
            plain(),
            Kind::Plain,
        )?,
        make(
            c"yamanote._yamanote.TimerHandle",
            &base("TimerHandle")?,
            timer(),
            Kind::Timer,
        )?,
    ];
    if cfg!(Py_3_14) {
        let name = c"yamanote._yamanote.ThreadSafeHandle";
        classes.push(make(
            name,
            &base("_ThreadSafeHandle")?,
            plain(),
            Kind::ThreadSafe,
        )?);
    }
    Ok(classes)
}

/// A new handle.
#[inline]
pub(crate) fn new<'py>(parts: &Parts<'_, 'py>) -> PyResult<Bound<'py, Handle>> {
    let py = parts.arguments.py();
    let context = match parts.context {
        Some(context) => context.to_owned(),
        None => super::context::copy_current(py)?,
    };
    let given = parts.arguments.raw_from(parts.first);
    let mut arguments = [ptr::null_mut(); INLINE];
    let mut more = ptr::null_mut();
    if given.len() <= INLINE {
        for (slot, argument) in arguments.iter_mut().zip(given) {
            // SAFETY: attached; the interpreter keeps every argument alive for the length of the call.
            *slot = unsafe { ffi::Py_NewRef(*argument) };
        }
    } else {
        more = gather(parts.arguments, parts.first)?.into_ptr();
    }
    let object = memory::allocate(py, parts.kind)?;
    let contents = Fields {
        event_loop: parts.event_loop.clone().into_ptr(),
        context: context.into_ptr(),
        callback: parts.callback.to_owned().into_ptr(),
        scratch: ptr::null_mut(),
        arguments,
        more,
        source_traceback: ptr::null_mut(),
        repr: ptr::null_mut(),
        when: parts.when,
        count: u32::try_from(given.len())?,
        cancelled: false,
        scheduled: parts.kind == Kind::Timer,
        running: false,
        tracked: parts.tracked,
        awaited: false,
        whole: false,
    };
    let place = fields(object);
    // SAFETY: `allocate` gave a block of this class, with room for the fields, and nothing that needs
    // dropping is there.
    unsafe { place.write(contents) };
    if parts.tracked {
        // SAFETY: complete now: the base's part is zeroed, our fields are written.
        unsafe { ffi::PyObject_GC_Track(object.cast()) };
    }
    // SAFETY: a new reference to a handle.
    Ok(unsafe { owned(py, object) })
}

/// The callback's arguments as a tuple. Takes what it needs by value: `Parts` stays in registers.
#[cold]
fn gather<'py>(arguments: Args<'_, 'py>, first: usize) -> PyResult<Bound<'py, PyTuple>> {
    let all = (first..arguments.len()).filter_map(|index| arguments.get(index));
    PyTuple::new(arguments.py(), all.collect::<Vec<_>>())
}

impl Kind {
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

/// Runs the callback in its context, unless the handle was cancelled.
///
/// Callback and arguments are borrowed from the handle: one that is cancelled meanwhile, by its own
/// callback or another thread, lets go of them afterwards.
#[inline]
pub(crate) fn run(handle: &Bound<'_, Handle>) -> PyResult<()> {
    let py = handle.py();
    let Some(call) = begin(handle).filter(|call| !call.cancelled) else {
        return Ok(());
    };
    // SAFETY: attached; a handle has a context for as long as it lives.
    let context = unsafe { borrowed::<PyAny>(py, &call.context) };
    let result = run_in(context, |py| {
        let (arguments, flags) = if call.more.is_null() {
            (
                inline_arguments(handle),
                ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            )
        } else {
            (tuple_items(call.more), 0)
        };
        let count = call.count | flags;
        // SAFETY: attached; `begin` keeps callback and arguments alive, and `scratch`, the slot in front of
        // inline ones, may be scribbled on, as the flag says.
        let result = unsafe { vectorcall(call.callback, arguments, count) };
        // SAFETY: attached; a new reference, or null with an exception set.
        unsafe { returned(py, result) }
    });
    end(handle, &call);
    result.map(drop)
}

/// What a handle consists of, kept alive by it until `end`.
struct Call {
    callback: *mut ffi::PyObject,
    context: *mut ffi::PyObject,
    more: *mut ffi::PyObject,
    count: usize,
    cancelled: bool,
    /// It was kept before: the handle runs inside its own callback.
    nested: bool,
}

/// Keeps the parts from going; `None` when they are gone.
#[inline]
fn begin(handle: &Bound<'_, Handle>) -> Option<Call> {
    with(handle, |fields| {
        if fields.callback.is_null() {
            return None;
        }
        Some(Call {
            callback: fields.callback,
            context: fields.context,
            more: fields.more,
            count: fields.count as usize,
            cancelled: fields.cancelled,
            nested: if fields.cancelled {
                fields.running
            } else {
                std::mem::replace(&mut fields.running, true)
            },
        })
    })
}

/// Lets the parts go where the handle was cancelled meanwhile.
#[inline]
fn end(handle: &Bound<'_, Handle>, call: &Call) {
    let (cancelled, awaited) = with(handle, |fields| {
        fields.running = call.nested;
        (
            fields.cancelled,
            !call.nested && std::mem::replace(&mut fields.awaited, false),
        )
    });
    if awaited {
        ENDED.announce();
    }
    if cancelled {
        let_go(handle, None);
    }
}

/// Waits, detached, until the callback does not run any more, where the handle was made for that.
pub(crate) fn wait_until_ended(handle: &Bound<'_, Handle>) {
    while handle.as_any().get_type_ptr() == THREAD_SAFE.object() {
        let seen = ENDED.count();
        let runs = with(handle, |fields| {
            fields.awaited = fields.running;
            fields.awaited
        });
        if !runs {
            return;
        }
        handle.py().detach(|| ENDED.wait(seen));
    }
}

/// Tells of callbacks that ended while somebody waited for one: there are few, so all share it.
static ENDED: Ended = Ended {
    count: Mutex::new(0),
    changed: Condvar::new(),
};

struct Ended {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Ended {
    fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn announce(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Waits for the next announcement after the count was `seen`.
    fn wait(&self, seen: u64) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.changed.wait_while(count, |count| *count == seen);
        drop(changed.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Where a handle keeps its inline arguments.
#[inline]
fn inline_arguments(handle: &Bound<'_, Handle>) -> *const *mut ffi::PyObject {
    let place = fields(handle.as_ptr());
    // SAFETY: the handle is alive; only the address is taken.
    unsafe { (&raw const (*place).arguments).cast() }
}

/// Where a tuple keeps its items.
fn tuple_items(tuple: *mut ffi::PyObject) -> *const *mut ffi::PyObject {
    // SAFETY: called with a live tuple; only the address is taken.
    unsafe { (&raw const (*tuple.cast::<ffi::PyTupleObject>()).ob_item).cast() }
}

/// Keeps the callback from running; `false` when that was done before.
pub(crate) fn cancel(handle: &Bound<'_, Handle>) -> bool {
    with(handle, |fields| {
        !std::mem::replace(&mut fields.cancelled, true)
    })
}

/// Lets go of callback and arguments of a cancelled handle, called once or again. `repr`, given once, is what
/// it shows itself as from now on.
pub(crate) fn let_go(handle: &Bound<'_, Handle>, repr: Option<Bound<'_, PyAny>>) {
    let gone = with(handle, |fields| {
        if let Some(repr) = repr {
            fields.repr = repr.into_ptr();
        }
        if fields.running {
            return [ptr::null_mut(); INLINE + 2]; // `run` comes back to it.
        }
        let mut gone = [ptr::null_mut(); INLINE + 2];
        gone[2..].copy_from_slice(&fields.arguments);
        gone[0] = std::mem::replace(&mut fields.callback, ptr::null_mut());
        gone[1] = std::mem::replace(&mut fields.more, ptr::null_mut());
        fields.arguments = [ptr::null_mut(); INLINE];
        gone
    });
    // Released out here: a destructor may run any Python code, and look at this handle.
    gone.into_iter().for_each(release);
}

/// Whether the handle was cancelled.
#[inline]
pub(crate) fn is_cancelled(handle: &Bound<'_, Handle>) -> bool {
    with(handle, |fields| fields.cancelled)
}

/// Whether a timer waits in the loop's heap.
pub(crate) fn is_scheduled(handle: &Bound<'_, Handle>) -> bool {
    with(handle, |fields| fields.scheduled)
}

/// Notes that a timer left the loop's heap.
pub(crate) fn set_unscheduled(handle: &Bound<'_, Handle>) {
    with(handle, |fields| fields.scheduled = false);
}

/// When a timer is due, in seconds on the loop's clock.
pub(crate) fn when(handle: &Bound<'_, Handle>) -> f64 {
    with(handle, |fields| fields.when)
}

/// Notes that `when` was given as an integer, which whoever asks for it gets back.
pub(crate) fn set_whole(handle: &Bound<'_, Handle>) {
    with(handle, |fields| fields.whole = true);
}

/// Whether `when` was given as an integer.
pub(crate) fn is_whole(handle: &Bound<'_, Handle>) -> bool {
    with(handle, |fields| fields.whole)
}

/// Remembers where the handle was made (debug mode).
pub(crate) fn set_source_traceback(handle: &Bound<'_, Handle>, traceback: Bound<'_, PyAny>) {
    let before = with(handle, |fields| {
        std::mem::replace(&mut fields.source_traceback, traceback.into_ptr())
    });
    release(before);
}

/// One of the objects that a handle holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Loop,
    Callback,
    Context,
    SourceTraceback,
    Repr,
}

/// The object held, or Python's `None`.
pub(crate) fn part<'py>(handle: &Bound<'py, Handle>, part: Part) -> Bound<'py, PyAny> {
    let py = handle.py();
    let pointer = with(handle, |fields| {
        let pointer = match part {
            Part::Loop => fields.event_loop,
            Part::Callback => fields.callback,
            Part::Context => fields.context,
            Part::SourceTraceback => fields.source_traceback,
            Part::Repr => fields.repr,
        };
        if pointer.is_null() {
            pointer
        } else {
            new_reference(pointer)
        }
    });
    // SAFETY: attached; a new reference or null.
    unsafe { Bound::from_owned_ptr_or_opt(py, pointer) }.unwrap_or_else(|| py.None().into_bound(py))
}

/// The callback's arguments, or `None` once cancelled.
pub(crate) fn arguments<'py>(handle: &Bound<'py, Handle>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = handle.py();
    let all = with(handle, |fields| {
        if fields.callback.is_null() {
            return None;
        }
        if !fields.more.is_null() {
            return Some((vec![new_reference(fields.more)], true));
        }
        let inline = &fields.arguments[..(fields.count as usize).min(INLINE)];
        let all = inline.iter().map(|argument| new_reference(*argument));
        Some((all.collect::<Vec<_>>(), false))
    });
    let Some((all, is_tuple)) = all else {
        return Ok(None);
    };
    let mut all = all.into_iter().map(|object| {
        // SAFETY: attached; a new reference made above.
        unsafe { owned::<PyAny>(py, object) }
    });
    if is_tuple && let Some(tuple) = all.next() {
        return Ok(Some(tuple.cast_into::<PyTuple>()?));
    }
    PyTuple::new(py, all.collect::<Vec<_>>()).map(Some)
}

/// The fields, under the handle's lock where there is no GIL. `access` must not run Python code.
#[inline]
pub(super) fn with<R>(handle: &Bound<'_, Handle>, access: impl FnOnce(&mut Fields) -> R) -> R {
    let place = fields(handle.as_ptr());
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: `place` points into the live handle; the critical section is held, so this is the only borrow.
    return pyo3::sync::critical_section::with_critical_section(handle.as_any(), || {
        access(unsafe { &mut *place })
    });
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: `place` points into the live handle; `access` runs no Python code, so with the GIL held
    // this is the only borrow.
    access(unsafe { &mut *place })
}

/// Where the fields of a handle are.
#[inline]
pub(super) fn fields(handle: *mut ffi::PyObject) -> *mut Fields {
    // SAFETY: an instance of each class has its fields at its class's offset.
    unsafe { handle.byte_add(offset(handle)) }.cast()
}

#[cfg(Py_3_12)]
#[inline]
fn offset(_handle: *mut ffi::PyObject) -> usize {
    SLOTS // Where `make` puts them.
}

#[cfg(not(Py_3_12))]
#[inline]
fn offset(handle: *mut ffi::PyObject) -> usize {
    // SAFETY: a live handle.
    let class = unsafe { ffi::Py_TYPE(handle) };
    let kind = if class == TIMER.object() {
        Kind::Timer
    } else {
        Kind::Plain
    };
    kind.class().offset()
}

/// Where a class without other bases has its slots: behind the head.
#[cfg(Py_3_12)]
const SLOTS: usize = size_of::<ffi::PyObject>();

/// Where our fields go.
///
/// asyncio's class has seven slots of its own, a timer's nine, each an owned reference or null. Nobody uses
/// them: our attributes hide their descriptors. So our fields lie over them, owned references or null
/// first, and a handle takes half the memory. Before Python 3.12 the list of weak references is in the way.
pub(super) fn layout(base: &Bound<'_, PyType>) -> PyResult<Layout> {
    #[cfg(Py_3_12)]
    {
        let layout = Layout::over::<Fields>(base, SLOTS)?;
        let pointers = std::mem::offset_of!(Fields, when);
        if Layout::is_covered(base, SLOTS + pointers)? {
            return Ok(layout);
        }
        Err(PyImportError::new_err(
            "asyncio.Handle has another layout than yamanote was built for",
        ))
    }
    #[cfg(not(Py_3_12))]
    Layout::after::<Fields>(base, false)
}

#[inline]
fn new_reference(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called with live objects, attached.
    unsafe { ffi::Py_NewRef(object) }
}

#[inline]
pub(super) fn release(object: *mut ffi::PyObject) {
    // SAFETY: called with null or an owned reference that nobody uses afterwards, attached.
    unsafe { ffi::Py_XDECREF(object) };
}

impl Fields {
    pub(super) fn pointers(&self) -> [*mut ffi::PyObject; INLINE + 6] {
        let [a, b, c, d] = self.arguments;
        let (own, debug) = (
            (self.callback, self.context),
            (self.source_traceback, self.repr),
        );
        [
            self.event_loop,
            own.0,
            own.1,
            a,
            b,
            c,
            d,
            self.more,
            debug.0,
            debug.1,
        ]
    }
}
