//! tokio's panics are not modelled.

use std::io;

pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> io::Result<R> {
    Ok(call())
}
