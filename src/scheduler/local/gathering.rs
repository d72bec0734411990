//! What callbacks write and transports gather, sent when the callback is over.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;

use crate::scheduler::visit::Visit;

/// A transport with bytes to send at the end of the callback that wrote them.
#[derive(Debug)]
pub(crate) struct Flush {
    pub(crate) target: Py<PyAny>,
    pub(crate) run: fn(&Bound<'_, PyAny>) -> PyResult<()>,
}

/// What the transports of one loop have to send, and when.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) flushes: RefCell<Vec<Flush>>,
    /// The number of the callback that runs, or will run next; begins at 1.
    pub(super) callback: Cell<u64>,
    /// The transport that learned last does better to gather what a callback writes: new ones begin that way.
    pub(super) is_worth_it: Cell<bool>,
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            flushes: RefCell::default(),
            callback: Cell::new(1),
            is_worth_it: Cell::new(false),
        }
    }
}

impl Gathering {
    /// Takes everything out, for the caller to drop.
    pub(super) fn take(&self) -> Vec<Flush> {
        self.flushes.take()
    }

    /// Shows the collector what is held.
    pub(super) fn objects(&self, visit: Visit<'_>) {
        if let Ok(flushes) = self.flushes.try_borrow() {
            flushes.iter().for_each(|flush| visit(&flush.target));
        }
    }
}
