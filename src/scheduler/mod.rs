//! What runs when: the ready queue, the timers, the inbox of other threads, the table of sources.
//!
//! [`Core`] is the object behind a loop. Its `Shared` half belongs to all threads, its [`Local`] half to the
//! thread that runs the loop; nothing is in both.

pub(crate) mod admission;
pub(crate) mod alarm;
mod contain;
mod core;
pub(crate) mod futures;
pub(crate) mod handle;
mod inbox;
pub(crate) mod limits;
mod local;
mod mailbox;
pub(crate) mod meters;
mod numbers;
pub(crate) mod origin;
pub(crate) mod phases;
pub(crate) mod pressure;
mod remote;
mod remote_calls;
pub(crate) mod report;
pub(crate) mod shedding;
mod source;
mod sources;
mod task_factory;
mod timers;
pub(crate) mod tracer;
mod traces;
mod turn;
mod visit;
mod waits;
mod watch_set;
pub(crate) mod watchers;

pub(crate) use self::core::{Core, wrong_thread};
pub(crate) use contain::is_exit;
pub(crate) use local::{Deferred, Flush, Local, READ_SIZE};
pub(crate) use remote::Remote;
pub(crate) use source::{READ, Source, WRITE};
pub(crate) use turn::{now, run, seconds};
pub(crate) use visit::Visit;
