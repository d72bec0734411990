//! The ready list: what wakes while it is closed is let go of, by one side or the other.

use std::sync::Arc;

use loom::thread;

use crate::driver::bell::Bell;
use crate::driver::{READ, ReadyList, Slot};

pub(super) fn lets_go_of_all() {
    let list = Arc::new(ReadyList::default());
    list.set_turn(&Arc::new(Bell::default()).into());
    let slots: Vec<_> = (0..2)
        .map(|key| Slot::new(Arc::clone(&list), key))
        .collect();
    let threads: Vec<_> = slots
        .iter()
        .map(|slot| {
            let slot = Arc::clone(slot);
            thread::spawn(move || slot.wake(READ))
        })
        .collect();
    list.forget_turn();
    list.close();
    for thread in threads {
        thread.join().unwrap();
    }
    for slot in &slots {
        assert_eq!(Arc::strong_count(slot), 1);
    }
}
