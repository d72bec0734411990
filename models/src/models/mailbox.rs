//! The inbox: no handle is left in it while the loop waits.

use std::sync::Arc;

use loom::thread;

use crate::driver::ReadyList;
use crate::driver::bell::{Bell, look};
use crate::scheduler::mailbox::Mailbox;

pub(super) fn loses_nothing() {
    of(1);
}

pub(super) fn loses_nothing_of_two() {
    of(2);
}

/// The turn of `scheduler/turn.rs`, and senders as `Inbox` has them.
fn of(threads: usize) {
    let (list, bell) = (Arc::new(ReadyList::default()), Arc::new(Bell::default()));
    list.set_turn(&Arc::clone(&bell).into());
    let mailbox = Arc::new(Mailbox::default());
    let senders: Vec<_> = (0..threads)
        .map(|number| {
            let (list, mailbox) = (Arc::clone(&list), Arc::clone(&mailbox));
            thread::spawn(move || {
                mailbox.push(number).unwrap();
                if mailbox.must_wake() {
                    list.wake_turn();
                }
            })
        })
        .collect();
    let mut received = Vec::new();
    while received.len() < threads {
        if mailbox.is_filled() {
            mailbox.take(|letters| received.append(letters));
        } else if mailbox.park() {
            look(&list, &bell, || mailbox.is_parked());
            mailbox.unpark();
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
    received.sort_unstable();
    assert!(received.into_iter().eq(0..threads));
}
