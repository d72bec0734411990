//! The factory of a loop's tasks, as `set_task_factory()` has set it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use super::visit::Visit;

/// What makes the tasks of a loop, if that is not the loop itself. Any thread may read or set it.
#[derive(Debug, Default)]
pub(crate) struct TaskFactory {
    /// Read for each new task. Relaxed: it decides nothing but who reads the factory itself.
    may_be_set: AtomicBool,
    /// A subclass has an attribute in the place of ours: then only Python knows.
    is_elsewhere: bool,
    factory: Mutex<Option<Py<PyAny>>>,
}

impl TaskFactory {
    /// No factory; `is_elsewhere` if a subclass replaced the attribute.
    pub(super) fn new(is_elsewhere: bool) -> Self {
        Self {
            may_be_set: AtomicBool::new(is_elsewhere),
            is_elsewhere,
            factory: Mutex::default(),
        }
    }

    /// Whether the loop itself makes its tasks.
    #[inline]
    pub(crate) fn is_unset(&self) -> bool {
        !self.may_be_set.load(Ordering::Relaxed)
    }

    /// The factory, if any.
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let factory = self.factory.lock().unwrap_or_else(PoisonError::into_inner);
        factory.as_ref().map(|factory| factory.clone_ref(py))
    }

    /// Replaces the factory; returns the one before, which the caller drops while attached.
    pub(crate) fn set(&self, factory: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        let mut held = self.factory.lock().unwrap_or_else(PoisonError::into_inner);
        let is_set = self.is_elsewhere || factory.is_some();
        self.may_be_set.store(is_set, Ordering::Relaxed);
        std::mem::replace(&mut held, factory)
    }

    /// Visits what is held for the garbage collector. If the lock is taken, a thread was stopped inside a method; the
    /// factory then counts as reachable.
    pub(super) fn objects(&self, visit: Visit<'_>) {
        if let Ok(factory) = self.factory.try_lock() {
            factory.iter().for_each(visit);
        }
    }
}
