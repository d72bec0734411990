//! The limit of connections: a listener that waits is fired when there is room, and the count is right.

use std::sync::Arc;

use loom::thread;

use crate::driver::{ReadyList, Slot};
use crate::scheduler::admission::{Door, Entry, Gate};

pub(super) fn opens_for_who_waits() {
    let list = Arc::new(ReadyList::default());
    let slot = Slot::new(Arc::clone(&list), 1);
    let gate = Arc::new(Gate::default());
    gate.set(Some(2), None, None);
    let door = Door::new(Arc::clone(&gate), Arc::default());
    // Both leave on other threads, as objects do that the collector frees.
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let admission = door.admit(0);
            thread::spawn(move || drop(admission))
        })
        .collect();
    let asked = door.ask(&slot);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(gate.open(), 0);
    match asked {
        Entry::Full => assert!(!list.is_empty(), "the listener waits for ever"),
        Entry::Accept(_) => {}
        Entry::Later(_) => panic!("there is no limit of the rate"),
    }
    list.drain(drop);
}
