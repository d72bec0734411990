//! Notices, while it lasts, that a loop stalls: that the same callback has run for long, or that the loop has
//! something to do and does not get the GIL.
//!
//! One thread looks at all watched loops again and again while any of them is busy, and sleeps while none is. It reads
//! counters that the loops keep anyway, and waits neither for them nor for the GIL.

pub(crate) mod collections;
mod kind;
mod suspect;
mod watcher;

pub(crate) use suspect::Mark;
pub(crate) use watcher::{Found, Limits, Watcher};
