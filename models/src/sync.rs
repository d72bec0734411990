//! What `src/sync.rs` takes from the standard library, from loom.

pub(crate) use loom::hint;
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic, mpsc};

/// As the standard library's, whose initial value is a block of constants.
macro_rules! per_thread {
    ($(#[$about:meta])* $visible:vis static $name:ident: $type:ty = const { $value:expr };) => {
        loom::thread_local! { $(#[$about])* $visible static $name: $type = $value; }
    };
}
pub(crate) use per_thread as thread_local;
