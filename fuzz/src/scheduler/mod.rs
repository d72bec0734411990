//! The files of `src/scheduler/`, and what they name.

#[path = "../../../src/scheduler/timers.rs"]
mod timers;
#[path = "../../../src/scheduler/visit.rs"]
mod visit;

pub(crate) mod ordered;
