//! The files of `src/driver/` that share something with other threads.

pub(crate) mod bell;
mod edge;
#[path = "../../../src/driver/look.rs"]
mod look;
#[path = "../../../src/driver/ready_list.rs"]
mod ready_list;
#[path = "../../../src/driver/slot_wakers.rs"]
mod slot_wakers;
mod turn_waker;

use std::sync::Arc;
use std::task::Waker;

pub(crate) use ready_list::{READ, ReadyList, Slot, WRITE};

/// As `src/driver/waker.rs`.
pub(crate) fn wake(slot: &Arc<Slot>) {
    Arc::clone(slot).wake(READ);
}

/// A waker as tokio has it of a descriptor.
pub(crate) fn read_waker(slot: &Arc<Slot>) -> Waker {
    Arc::clone(slot).read_waker()
}
