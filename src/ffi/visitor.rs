//! Passes objects to the garbage collector.

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::owner::Stopped;

/// Passes objects to the collector's visit function, until that stops the traversal.
pub(crate) struct Visitor<'a> {
    pub(super) visit: ffi::visitproc,
    pub(super) argument: *mut c_void,
    pub(super) result: c_int,
    pub(super) stopped: Stopped<'a>,
}

impl<'a> Visitor<'a> {
    /// Proof with which the collector may read what belongs to another thread.
    pub(crate) fn stopped(&self) -> Stopped<'a> {
        self.stopped
    }

    /// Passes one object to the collector, unless the traversal has stopped.
    pub(crate) fn object<T>(&mut self, object: &Py<T>) {
        // SAFETY: `Py` keeps it alive.
        unsafe { self.raw(object.as_ptr()) };
    }

    /// Passes the object to the collector, if there is one.
    pub(crate) fn option<T>(&mut self, object: Option<&Py<T>>) {
        if let Some(object) = object {
            self.object(object);
        }
    }

    /// # Safety
    ///
    /// `object` is alive.
    pub(super) unsafe fn raw(&mut self, object: *mut ffi::PyObject) {
        if self.result == 0 {
            // SAFETY: the collector's own function with its own argument; the caller guarantees that `object` is
            // alive.
            self.result = unsafe { (self.visit)(object, self.argument) };
        }
    }
}
