//! The files of `client/src/` that speak through the capsule, and what they name.

#[path = "../../../client/src/abi.rs"]
pub mod abi;
#[path = "../../../client/src/raw.rs"]
pub(crate) mod raw;

use std::cell::RefCell;

use pyo3::prelude::*;

/// There is no interpreter that could end.
pub(crate) mod finalizing {
    pub(crate) fn hang_instead_of_unwinding() {}
}

/// The stand-in for Python takes names as they are.
pub(crate) mod names {
    use pyo3::prelude::*;

    pub(crate) struct Name(&'static str);

    impl Name {
        pub(crate) const fn new(text: &'static str) -> Self {
            Self(text)
        }

        pub(crate) fn get(&self, _py: Python<'_>) -> PyResult<&'static str> {
            Ok(self.0)
        }
    }
}

/// There is no tokio.
pub(crate) mod runtime {
    pub(crate) struct Nothing;

    pub(crate) fn enter() -> Nothing {
        Nothing
    }
}

thread_local! {
    /// What runs on this thread, if anything.
    pub(crate) static RUNNING: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
}

/// The loop that runs.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let running = RUNNING.with_borrow(Option::clone);
    running
        .map(|running| running.into_bound(py))
        .ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("no running event loop"))
}
