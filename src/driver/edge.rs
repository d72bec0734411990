//! Turns tokio's panics into errors.
//!
//! tokio's reactor panics on an error that it does not expect: the kernel refuses to wait when a program has closed
//! all descriptors, including the reactor's. Calls that may panic like this go through `guarded`, which returns the
//! error behind the panic.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::ffi::panics::is_want_of_memory;

thread_local! {
    /// Whether this thread is inside `guarded`.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Installs a panic hook that prints nothing for tokio's panics inside [`guarded`], nor for PyO3's when memory runs
/// out, as both are reported as errors. All other panics are printed as before.
pub(super) fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let is_told = GUARDED.try_with(Cell::get).unwrap_or(false) && is_of_tokio(panic);
            if !is_told && !is_want_of_memory(panic) {
                before(panic);
            }
        }));
    });
}

/// Whether the runtime itself panicked, not a task on it.
fn is_of_tokio(panic: &PanicHookInfo<'_>) -> bool {
    panic
        .location()
        .is_some_and(|location| location.file().contains("tokio"))
}

/// Calls tokio, and returns the error behind its panic if it panics.
#[inline]
pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> io::Result<R> {
    let before = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    result.map_err(|panic| error_of(&*panic))
}

/// Finds the kernel's error in tokio's message, which has Rust's debug format: `Os { code: 9, kind: Uncategorized, …
/// }`.
#[cold]
fn error_of(panic: &(dyn Any + Send)) -> io::Error {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    let code = said.split_once("code: ").and_then(|(_, rest)| {
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
        digits?.parse().ok()
    });
    match code {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(format!("the reactor failed: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_error_is_found_in_the_panic() {
        let kernels = io::Error::from_raw_os_error(9);
        let error = guarded(|| panic!("unexpected error when polling: {kernels:?}")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9));
    }

    #[test]
    fn any_other_panic_is_quoted() {
        let error = guarded(|| panic!("driver missing")).unwrap_err();
        assert_eq!(error.to_string(), "the reactor failed: driver missing");
    }
}
