//! The proof that the thread is attached, and whether it is.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::error::PyResult;

/// `pyo3::Python`.
#[derive(Clone, Copy, Debug)]
pub struct Python<'py>(PhantomData<&'py ()>);

thread_local! {
    static DETACHED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the thread counts as attached.
pub fn is_attached() -> bool {
    !DETACHED.get()
}

/// Runs `call` as on a thread that is not attached, if `is_detached`.
pub fn detached<R>(is_detached: bool, call: impl FnOnce() -> R) -> R {
    let before = DETACHED.replace(is_detached);
    let result = call();
    DETACHED.set(before);
    result
}

impl Python<'_> {
    /// The one thread there is.
    pub fn token<'py>() -> Python<'py> {
        Python(PhantomData)
    }

    /// # Safety
    ///
    /// The thread is attached.
    pub unsafe fn attach_unchecked<R>(call: impl for<'py> FnOnce(Python<'py>) -> R) -> R {
        assert!(is_attached(), "a use of Python on a detached thread");
        call(Python::token())
    }

    /// Attaches the thread for the length of the call.
    pub fn try_attach<R>(call: impl for<'py> FnOnce(Python<'py>) -> R) -> Option<R> {
        Some(detached(false, || call(Python::token())))
    }
}

/// `pyo3::sync::PyOnceLock`.
pub struct PyOnceLock<T>(OnceLock<T>);

impl<T> PyOnceLock<T> {
    #[expect(
        clippy::new_without_default,
        reason = "as PyO3's, which is made in a constant"
    )]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value, which `make` makes first.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn get_or_try_init(
        &self,
        _py: Python<'_>,
        make: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<&T> {
        if let Some(value) = self.0.get() {
            return Ok(value);
        }
        let value = make()?;
        Ok(self.0.get_or_init(|| value))
    }
}
