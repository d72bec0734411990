//! The table of sources: a late event of one that is gone never reaches the one that has its place.

use std::sync::Arc;

use loom::thread;

use super::sources::Sources;
use crate::driver::{READ, ReadyList, Slot};

pub(crate) fn find_only_their_own_source() {
    let list = Arc::new(ReadyList::default());
    let mut sources = Sources::<&str>::default();
    let first = sources.insert(Arc::new("first"));
    let waker = {
        let list = Arc::clone(&list);
        thread::spawn(move || Slot::new(list, first).wake(READ))
    };
    let mut events = dispatch(&list, &mut sources);
    // The slot may be on the list now: its event belongs to no source any more.
    assert!(sources.remove(first).is_some_and(|it| *it == "first"));
    let second = sources.insert(Arc::new("second"));
    events += dispatch(&list, &mut sources);
    waker.join().unwrap();
    events += dispatch(&list, &mut sources);
    assert!(events <= 1);
    assert!(sources.get(first).is_none());
    assert!(sources.get(second).is_some_and(|it| *it == "second"));
}

/// As a turn does it: lends the source that has the key. Returns how many there were.
fn dispatch(list: &ReadyList, sources: &mut Sources<&str>) -> usize {
    let mut found = 0;
    list.drain(|slot| {
        slot.take();
        if let Some(source) = sources.take(slot.key()) {
            assert_eq!(*source, "first", "the event is of the one that is gone");
            assert!(sources.put_back(slot.key(), source).is_none());
            found += 1;
        }
    });
    found
}
