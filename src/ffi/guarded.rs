//! State that any attached thread may use, one at a time.

use std::fmt;

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::RefCell;
#[cfg(Py_GIL_DISABLED)]
use std::sync::{Mutex, PoisonError, TryLockError};

use pyo3::prelude::*;

/// A value behind a lock. With the GIL, the GIL is that lock, and nothing else is locked.
pub(crate) struct Guarded<T> {
    #[cfg(not(Py_GIL_DISABLED))]
    value: RefCell<T>,
    #[cfg(Py_GIL_DISABLED)]
    value: Mutex<T>,
}

// SAFETY: only `with` gives access, to a thread that is attached, and the GIL admits one of them. It cannot detach
// meanwhile with the value in its hands: `Python::detach` takes no reference to it, because a `RefCell` is not `Sync`.
// One thread after another may use it, as `T` is `Send`.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            #[cfg(not(Py_GIL_DISABLED))]
            value: RefCell::new(value),
            #[cfg(Py_GIL_DISABLED)]
            value: Mutex::new(value),
        }
    }

    /// Gives `access` the value. It must run no Python code, and thus drop no Python object: that would need the value
    /// a second time, or wait while it is locked.
    #[inline]
    pub(crate) fn with<R>(&self, _py: Python<'_>, access: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(Py_GIL_DISABLED))]
        return access(&mut self.value.borrow_mut());
        #[cfg(Py_GIL_DISABLED)]
        access(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As `with`; `None` while it is locked. In a forked child it may be locked for ever, by a thread that is not there.
    pub(crate) fn try_with<R>(
        &self,
        _py: Python<'_>,
        access: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        #[cfg(not(Py_GIL_DISABLED))]
        return self
            .value
            .try_borrow_mut()
            .ok()
            .map(|mut value| access(&mut value));
        #[cfg(Py_GIL_DISABLED)]
        match self.value.try_lock() {
            Ok(mut value) => Some(access(&mut value)),
            Err(TryLockError::Poisoned(value)) => Some(access(&mut value.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Does not show the value, which may be in use.
impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guarded").finish_non_exhaustive()
    }
}
