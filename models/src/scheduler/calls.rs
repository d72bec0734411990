//! The calls of other threads: each is run, handed back or dropped, also while the loop closes.

use std::sync::Arc;

use loom::thread;

use super::remote::Remote;
use crate::driver::{ReadyList, Slot};
use crate::ffi::pollable::Completion;

pub(crate) fn run_or_are_dropped() {
    let list = Arc::new(ReadyList::default());
    let remote = Arc::new(Remote::new(Slot::new(Arc::clone(&list), 1)));
    // The slot is queued already, so that the sender does not push it, which has a fence of its own.
    assert!(remote.wake());
    let token = Arc::new(());
    let sender = {
        let (remote, token) = (Arc::clone(&remote), Arc::clone(&token));
        // What is handed back is dropped here.
        thread::spawn(move || drop(remote.submit(Completion(token))))
    };
    remote.close();
    sender.join().unwrap();
    assert_eq!(Arc::strong_count(&token), 1, "it stays in a closed queue");
    list.drain(drop);
}
