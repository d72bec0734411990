//! The memory of a handle.

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::class::Class;
use super::reference::truth;

/// An instance of `Handle` or `TimerHandle`; `Py<Handle>` points at either.
#[derive(Debug)]
pub(crate) struct Handle(());

/// Which class a handle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleKind {
    Plain,
    Timer,
    /// Cancelling it on another thread waits for a callback that has started (Python 3.14).
    ThreadSafe,
}

/// The fields of a handle. Those up to `scratch` lie where asyncio's classes have their own slots, each under its own
/// name (`handle_words`).
///
/// So asyncio's slot descriptors (`asyncio.Handle._callback.__set__(handle, …)`) read and write them directly, at any
/// time while attached: they may hold any object, and change during a call. Fields that code must rely on come after
/// them.
///
/// # Invariant
///
/// Pointers are owned references or null. The first `count` of `arguments` are the callback's arguments, which do not
/// change while `running`. On free-threaded builds all fields are read and written inside the handle's critical
/// section.
#[repr(C)]
pub(super) struct Fields {
    /// Null while the arguments are inline; a tuple if they do not fit; otherwise whatever was set.
    pub(super) args: *mut ffi::PyObject,
    pub(super) callback: *mut ffi::PyObject,
    /// `False` as long as the callback is still to run.
    pub(super) cancelled: *mut ffi::PyObject,
    pub(super) context: *mut ffi::PyObject,
    pub(super) event_loop: *mut ffi::PyObject,
    pub(super) repr: *mut ffi::PyObject,
    pub(super) source_traceback: *mut ffi::PyObject,
    /// The interpreter's list; later versions keep it in front of the object.
    #[cfg(not(Py_3_12))]
    pub(super) weak_references: *mut ffi::PyObject,
    /// A timer's `_scheduled`, or the `_lock` of a thread-safe handle.
    pub(super) scheduled: *mut ffi::PyObject,
    /// A timer's `_when` as it was passed, if that was not a float.
    pub(super) given_when: *mut ffi::PyObject,
    /// The slot in front of the arguments, which a callee may overwrite.
    pub(super) scratch: *mut ffi::PyObject,
    pub(super) arguments: [*mut ffi::PyObject; INLINE],
    pub(super) when: f64,
    /// The number of inline arguments, or `ELSEWHERE`.
    pub(super) count: u8,
    /// Whether a timer is in the loop's heap.
    pub(super) queued: bool,
    /// Whether the callback is running. Its inline arguments must then stay.
    pub(super) running: bool,
    /// Whether the collector tracks it.
    pub(super) tracked: bool,
    /// Whether a thread waits for the callback's end.
    pub(super) awaited: bool,
}

/// The value of `count` while `args` holds the arguments.
pub(super) const ELSEWHERE: u8 = u8::MAX;

/// The number of arguments held without a tuple; asyncio's own callbacks have at most two.
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

/// Gives `access` the fields, under the handle's lock on free-threaded builds.
///
/// # Safety
///
/// `access` runs no Python code and keeps the fields' invariant; the caller must release a reference that it takes
/// out.
#[inline]
pub(super) unsafe fn with<R>(
    handle: &Bound<'_, Handle>,
    access: impl FnOnce(&mut Fields) -> R,
) -> R {
    // SAFETY: `Bound` keeps it alive.
    let place = unsafe { fields(handle.as_ptr()) };
    #[cfg(Py_GIL_DISABLED)]
    return pyo3::sync::critical_section::with_critical_section(handle.as_any(), || {
        // SAFETY: `place` points into the live handle. The critical section is held until `access` returns, and
        // `access` runs no Python code that could suspend it, so this is the only borrow.
        access(unsafe { &mut *place })
    });
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: `place` points into the live handle. `access` runs no Python code, so with the GIL held this is the
    // only borrow.
    access(unsafe { &mut *place })
}

/// A pointer to the fields of a handle.
///
/// # Safety
///
/// `handle` points at the memory of a handle, whose fields may be uninitialised or already dropped.
#[inline]
pub(super) unsafe fn fields(handle: *mut ffi::PyObject) -> *mut Fields {
    // SAFETY: an instance of each class has room for its fields behind the head, where `make` puts them.
    unsafe { handle.byte_add(SLOTS) }.cast()
}

/// The offset of the slots in a class without other bases: after the head.
pub(super) const SLOTS: usize = size_of::<ffi::PyObject>();

impl Fields {
    /// Calls `visit` with each object that the handle holds, until it fails.
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
        // `False` and `True` are in no cycle: not visiting them saves time, as nearly all handles have them here.
        if self.cancelled != truth(false) {
            visit(self.cancelled)?;
        }
        if self.scheduled != truth(true) {
            visit(self.scheduled)?;
        }
        self.rare().into_iter().flatten().try_for_each(visit)
    }

    /// The inline arguments. `ELSEWHERE` exceeds the number of places, so it returns all of them.
    #[inline]
    pub(super) fn inline(&self) -> &[*mut ffi::PyObject] {
        &self.arguments[..usize::from(self.count).min(INLINE)]
    }

    /// Fields that few handles use; `None` if all of them are unset.
    #[inline]
    pub(super) fn rare(&self) -> Option<[*mut ffi::PyObject; 4]> {
        let all = [self.args, self.source_traceback, self.repr, self.given_when];
        let has_any = all.iter().fold(0, |all, field| all | field.addr()) != 0;
        has_any.then_some(all)
    }
}
