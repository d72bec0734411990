//! What the files that `models/` compiles a second time take from the standard library. There, loom's types stand in
//! for these, and every schedule runs.

pub(crate) use std::sync::{Mutex, MutexGuard, atomic, mpsc};
pub(crate) use std::{hint, thread_local};
