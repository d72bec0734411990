//! The memory of `Handle` and `TimerHandle`: the objects allocated most often.
//!
//! Real subclasses of asyncio's two, with up to four arguments inline and a free list. Everything that
//! asyncio's own methods read (`_callback`, `_args`, `_when`, …) is an attribute over this memory.
//!
//! Most handles are made while the loop runs, held by its queue alone, and gone after their turn: the
//! collector need not know them. While the loop runs it is alive, and with it what its handles refer to.
//! A handle that leaves the queue and is still held (`leave`) is told to the collector then, and when a run
//! ends, all that are left (`track`).

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::{Condvar, Mutex, PoisonError};

#[cfg(Py_3_12)]
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use super::class::{self, Class, Layout, slot};
use super::context::run_in;
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
struct Fields {
    context: *mut ffi::PyObject,
    callback: *mut ffi::PyObject,
    /// The slot in front of the arguments that a callee may use.
    scratch: *mut ffi::PyObject,
    arguments: [*mut ffi::PyObject; INLINE],
    event_loop: *mut ffi::PyObject,
    /// A tuple with all of them, when there are more than fit.
    more: *mut ffi::PyObject,
    source_traceback: *mut ffi::PyObject,
    repr: *mut ffi::PyObject,
    when: f64,
    count: u32,
    cancelled: bool,
    scheduled: bool,
    /// The callback runs: its parts stay, whatever happens.
    running: bool,
    /// The collector knows it.
    tracked: bool,
    /// Somebody waits for the callback's end.
    awaited: bool,
}

/// Arguments held without a tuple: asyncio's own callbacks have at most two.
const INLINE: usize = 4;

static PLAIN: Class = Class::new();
static TIMER: Class = Class::new();
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
        more = gather(parts)?.into_ptr();
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

/// The callback's arguments as a tuple.
#[cold]
fn gather<'py>(parts: &Parts<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
    let all = (parts.first..parts.arguments.len()).filter_map(|index| parts.arguments.get(index));
    PyTuple::new(parts.arguments.py(), all.collect::<Vec<_>>())
}

impl Kind {
    #[inline]
    fn class(self) -> &'static Class {
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
        let result =
            unsafe { ffi::PyObject_Vectorcall(call.callback, arguments, count, ptr::null_mut()) };
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

/// Tells the collector of the handle, where it does not know it yet.
pub(crate) fn track(handle: &Bound<'_, Handle>) {
    if !with(handle, |fields| {
        std::mem::replace(&mut fields.tracked, true)
    }) {
        // SAFETY: complete, and not tracked yet.
        unsafe { ffi::PyObject_GC_Track(handle.as_ptr().cast()) };
    }
}

/// The handle leaves the loop: from now on it is the business of whoever still holds it.
#[inline]
pub(crate) fn leave(handle: &Bound<'_, Handle>) {
    // SAFETY: a live object.
    if unsafe { ffi::Py_REFCNT(handle.as_ptr()) } > 1 {
        track(handle);
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
        gone[..INLINE].copy_from_slice(&fields.arguments);
        gone[INLINE] = std::mem::replace(&mut fields.callback, ptr::null_mut());
        gone[INLINE + 1] = std::mem::replace(&mut fields.more, ptr::null_mut());
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
        let inline = &fields.arguments[..(fields.count as usize).min(INLINE)];
        let mut all: Vec<_> = inline
            .iter()
            .map(|argument| new_reference(*argument))
            .collect();
        if !fields.more.is_null() {
            all = vec![new_reference(fields.more)];
        }
        Some((all, !fields.more.is_null()))
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
fn with<R>(handle: &Bound<'_, Handle>, access: impl FnOnce(&mut Fields) -> R) -> R {
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
fn fields(handle: *mut ffi::PyObject) -> *mut Fields {
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
fn layout(base: &Bound<'_, PyType>) -> PyResult<Layout> {
    #[cfg(Py_3_12)]
    {
        let layout = Layout::over::<Fields>(base, SLOTS)?;
        let pointers = std::mem::offset_of!(Fields, when);
        if layout.is_covered(base, SLOTS + pointers)? {
            return Ok(layout);
        }
        Err(PyImportError::new_err(
            "asyncio.Handle has another layout than yamanote was built for",
        ))
    }
    #[cfg(not(Py_3_12))]
    Layout::after::<Fields>(base)
}

#[inline]
fn new_reference(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called with live objects, attached.
    unsafe { ffi::Py_NewRef(object) }
}

#[inline]
fn release(object: *mut ffi::PyObject) {
    // SAFETY: called with null or an owned reference that nobody uses afterwards, attached.
    unsafe { ffi::Py_XDECREF(object) };
}

fn make<'py>(
    name: &'static CStr,
    base: &Bound<'py, PyType>,
    members: Members,
    kind: Kind,
) -> PyResult<Bound<'py, PyType>> {
    let layout = layout(base)?;
    let slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
    ];
    let made = class::make(
        name,
        c"A callback that the loop will run.",
        base,
        &layout,
        slots,
        members,
    )?;
    let made = made.cast_into::<PyType>()?;
    // The class lives for as long as the process: its methods' definitions do.
    kind.class()
        .publish(made.clone().into_ptr().cast(), layout.value);
    Ok(made)
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter with a complete handle whose count has dropped to zero.
    if unsafe { (*fields(object)).tracked } {
        // SAFETY: as above, and tracked.
        unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    }
    if has_weak_references(object) {
        // SAFETY: live memory of an instance, attached.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
    // SAFETY: nobody can reach the fields any more; copied out, and not used again in place.
    let fields = unsafe { fields(object).read() };
    // The memory goes first: the destructors below may make new handles.
    memory::give_back(object);
    release(fields.callback);
    for argument in &fields.arguments[..(fields.count as usize).min(INLINE)] {
        release(*argument);
    }
    release(fields.context);
    release(fields.event_loop);
    if !(fields.more.is_null() && fields.source_traceback.is_null() && fields.repr.is_null()) {
        [fields.more, fields.source_traceback, fields.repr]
            .into_iter()
            .for_each(release);
    }
}

/// Whether somebody made a weak reference: asking is cheaper than clearing none.
fn has_weak_references(handle: *mut ffi::PyObject) -> bool {
    // SAFETY: called with the live memory of a handle.
    let class = unsafe { ffi::Py_TYPE(handle) };
    // SAFETY: a live type.
    let offset = unsafe { (*class).tp_weaklistoffset };
    // SAFETY: by its definition, the offset leads to the list's head within the object's allocation.
    let list = unsafe { handle.byte_offset(offset) }.cast::<*mut ffi::PyObject>();
    // SAFETY: as above; the count has dropped to zero, so nobody writes it.
    !unsafe { list.read() }.is_null()
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector only knows complete handles, and nothing changes them while it looks.
    let fields = unsafe { &*fields(object) };
    // SAFETY: a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    for pointer in fields.pointers().into_iter().chain([class.cast()]) {
        if pointer.is_null() {
            continue;
        }
        // SAFETY: the collector's own function with its own argument, and a live object.
        let result = unsafe { visit(pointer, argument) };
        if result != 0 {
            return result;
        }
    }
    0
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the interpreter calls this while attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: called by the collector with a live handle.
    let handle = unsafe { borrowed::<Handle>(py, &object) };
    cancel(handle);
    let_go(handle, None);
    0
}

impl Fields {
    fn pointers(&self) -> [*mut ffi::PyObject; INLINE + 6] {
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

/// Blocks of memory for handles, kept for the next one. The GIL is the lock.
#[cfg(not(Py_GIL_DISABLED))]
mod memory {
    use std::cell::UnsafeCell;

    use super::{Kind, PLAIN, PyResult, Python, TIMER, class, ffi};

    struct FreeList(UnsafeCell<Vec<*mut ffi::PyObject>>);

    // SAFETY: used by the two functions below alone, which run attached: the GIL admits one thread,
    // and neither calls anything that could release it while the list is borrowed.
    unsafe impl Sync for FreeList {}

    static PLAINS: FreeList = FreeList(UnsafeCell::new(Vec::new()));
    static TIMERS: FreeList = FreeList(UnsafeCell::new(Vec::new()));
    static THREAD_SAFES: FreeList = FreeList(UnsafeCell::new(Vec::new()));

    /// Blocks kept of each kind, 600 KiB: what a burst from other threads queues; the rest goes back to the allocator.
    const KEPT: usize = 4096;

    /// A block with the head of an object and zeroes up to our fields, not yet tracked.
    #[inline]
    pub(super) fn allocate(py: Python<'_>, kind: Kind) -> PyResult<*mut ffi::PyObject> {
        let list = match kind {
            Kind::Plain => &PLAINS,
            Kind::Timer => &TIMERS,
            Kind::ThreadSafe => &THREAD_SAFES,
        };
        let class = kind.class().object();
        // SAFETY: attached, and no other borrow of the list is alive (see `FreeList`).
        if let Some(object) = unsafe { &mut *list.0.get() }.pop() {
            // SAFETY: a block of this very class, whose base's part was left zeroed; this sets the
            // count to one and takes a reference to the class.
            return Ok(unsafe { ffi::PyObject_Init(object, class) });
        }
        super::allocate_zeroed(py, class)
    }

    /// Keeps the block, or frees it when there are enough. The fields are gone already.
    #[inline]
    pub(super) fn give_back(object: *mut ffi::PyObject) {
        // SAFETY: live memory of an instance.
        let class = unsafe { ffi::Py_TYPE(object) };
        let list = if class == PLAIN.object() {
            &PLAINS
        } else if class == TIMER.object() {
            &TIMERS
        } else {
            &THREAD_SAFES
        };
        // SAFETY: attached, and no other borrow of the list is alive (see `FreeList`).
        let list = unsafe { &mut *list.0.get() };
        if list.len() < KEPT {
            list.push(object);
            // SAFETY: an instance holds a reference to its class, which ends here; the static one remains.
            unsafe { ffi::Py_DECREF(class.cast()) };
        } else {
            // SAFETY: attached, untracked, without references.
            unsafe { class::free(object) };
        }
    }
}

/// Blocks of memory for handles. Free-threaded builds have fast thread-local allocation of their own.
#[cfg(Py_GIL_DISABLED)]
mod memory {
    use super::{Kind, PyResult, Python, class, ffi};

    pub(super) fn allocate(py: Python<'_>, kind: Kind) -> PyResult<*mut ffi::PyObject> {
        super::allocate_zeroed(py, kind.class().object())
    }

    pub(super) fn give_back(object: *mut ffi::PyObject) {
        // SAFETY: attached, untracked, without references.
        unsafe { class::free(object) };
    }
}

/// A new block of a handle class with everything behind the head zeroed, not tracked.
fn allocate_zeroed(py: Python<'_>, class: *mut ffi::PyTypeObject) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: attached; a heap type with the collector's flag. Zeroed and tracked, or null with an exception set.
    let object = unsafe { ffi::PyType_GenericAlloc(class, 0) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: tracked by the allocation; `new` tracks it again once it is complete.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    Ok(object)
}
