//! A stand-in: the attributes that an attempt looks at.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use pyo3::object::Value;
use pyo3::prelude::*;

/// A reader of one program.
#[derive(Debug, Default)]
pub(super) struct Fields<'py> {
    pub(super) buffer: RefCell<Vec<u8>>,
    pub(super) is_at_end: Cell<bool>,
    pub(super) limit: usize,
    /// How often a paused transport was told to go on, if need be.
    pub(super) resumed: Cell<usize>,
    pub(super) attached: PhantomData<&'py ()>,
}

/// As it was when the attempt began.
#[derive(Debug)]
pub(super) struct Received<'py>(Vec<u8>, PhantomData<&'py ()>);

impl Received<'_> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn with<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&self.0)
    }
}

impl<'py> Fields<'py> {
    pub(super) fn py(&self) -> Python<'py> {
        Python::token()
    }

    pub(super) fn has_exception(&self) -> PyResult<bool> {
        Ok(false)
    }

    pub(super) fn is_at_end(&self) -> PyResult<bool> {
        Ok(self.is_at_end.get())
    }

    pub(super) fn limit(&self) -> PyResult<Option<usize>> {
        Ok(Some(self.limit))
    }

    pub(super) fn received(&self) -> PyResult<Option<Received<'py>>> {
        Ok(Some(Received(self.buffer.borrow().clone(), PhantomData)))
    }

    pub(super) fn take(
        &self,
        _received: Received<'py>,
        count: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut buffer = self.buffer.borrow_mut();
        let count = count.min(buffer.len());
        let taken = buffer.drain(..count).collect();
        Ok(Py::of(Value::Bytes(taken)).into_bound(self.py()))
    }

    pub(super) fn maybe_resume(&self) -> PyResult<()> {
        self.resumed.set(self.resumed.get() + 1);
        Ok(())
    }
}
