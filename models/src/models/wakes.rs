//! The ready list: no wake is lost, and who takes a slot sees what came before its wake.
//!
//! The flags stand for what a waker announces: a Rust future that was abandoned, a descriptor that is ready.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::driver::bell::{Bell, look};
use crate::driver::{READ, ReadyList, Slot, WRITE, read_waker};

pub(super) fn of_one_thread() {
    of(1);
}

pub(super) fn of_two_threads() {
    of(2);
}

/// Threads make their flags true and wake; they share one slot, so one may find it queued already.
fn of(threads: usize) {
    let (list, bell) = (Arc::new(ReadyList::default()), Arc::new(Bell::default()));
    list.set_turn(&Arc::clone(&bell).into());
    let slot = Slot::new(Arc::clone(&list), 0);
    let flags: Arc<[AtomicBool]> = (0..threads).map(|_| AtomicBool::new(false)).collect();
    let handles: Vec<_> = (0..threads)
        .map(|own| {
            let (slot, flags) = (Arc::clone(&slot), Arc::clone(&flags));
            let own_list = Arc::clone(&list);
            thread::spawn(move || {
                flags[own].store(true, Ordering::Relaxed);
                if own == 0 {
                    read_waker(&slot).wake();
                    // Made here: it must arrive whole.
                    Slot::new(own_list, 7).wake(WRITE);
                } else {
                    slot.wake(WRITE);
                }
            })
        })
        .collect();
    let mut arrived = 0;
    let mut seen = vec![false; threads];
    while arrived == 0 || seen.contains(&false) {
        look(&list, &bell, || true);
        list.set_turning(true);
        list.drain(|slot| {
            assert_ne!(slot.take() & (READ | WRITE), 0);
            match slot.key() {
                0 => seen = flags.iter().map(|it| it.load(Ordering::Relaxed)).collect(),
                7 => arrived += 1,
                other => panic!("no slot has the key {other}"),
            }
        });
        list.set_turning(false);
    }
    for handle in handles {
        handle.join().unwrap();
    }
    assert_eq!(arrived, 1);
    list.drain(drop);
    assert_eq!(Arc::strong_count(&slot), 1);
}
