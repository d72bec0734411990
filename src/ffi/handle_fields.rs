//! The memory of a handle.

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::class::Class;
use super::reference::truth;

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
