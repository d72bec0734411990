//! What the Python object of a transport holds.

use pyo3::prelude::*;

use crate::ffi::{OwnerCell, Visitor};
use crate::scheduler::Core;

/// The loop, the context and the state of a transport over a descriptor.
#[derive(Debug)]
pub(crate) struct Frame<S> {
    pub(crate) core: Py<Core>,
    /// The context of the protocol's methods.
    pub(crate) context: Py<PyAny>,
    pub(crate) state: OwnerCell<S>,
}

impl<S> Frame<S> {
    pub(crate) fn new(core: &Bound<'_, Core>, context: Bound<'_, PyAny>, state: S) -> Self {
        Self {
            core: core.clone().unbind(),
            context: context.unbind(),
            state: OwnerCell::new(state),
        }
    }

    /// Passes the loop and the context to the garbage collector; returns the state, whose objects remain.
    pub(crate) fn traverse<'a, 'v: 'a>(&'a self, visitor: &mut Visitor<'v>) -> &'a S {
        visitor.object(&self.core);
        visitor.object(&self.context);
        self.state.while_stopped(visitor.stopped())
    }
}
