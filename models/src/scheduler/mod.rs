//! The files of `src/scheduler/` that share something with other threads, and what those name.

#[path = "../../../src/scheduler/admission.rs"]
pub(crate) mod admission;
#[path = "../../../src/scheduler/alarm.rs"]
pub(crate) mod alarm;
#[path = "../../../src/scheduler/limits.rs"]
pub(crate) mod limits;
#[path = "../../../src/scheduler/mailbox.rs"]
pub(crate) mod mailbox;
#[path = "../../../src/scheduler/meters.rs"]
pub(crate) mod meters;
#[path = "../../../src/scheduler/phases.rs"]
pub(crate) mod phases;
#[path = "../../../src/scheduler/pressure.rs"]
pub(crate) mod pressure;
#[path = "../../../src/scheduler/remote.rs"]
mod remote;
#[path = "../../../src/scheduler/sources.rs"]
mod sources;

pub(crate) mod calls;
pub(crate) mod keys;
