//! The sequence lock of the watch counters: a moment is whole, and each change has its own number.

use std::sync::Arc;

use loom::thread;

use crate::scheduler::phases::{Doing, Phases};

const IDENT: usize = 7;

pub(super) fn are_read_whole() {
    let phases = Arc::new(Phases::default());
    let watching = {
        let phases = Arc::clone(&phases);
        thread::spawn(move || phases.moment())
    };
    phases.begin_run(IDENT);
    phases.end_turn(true);
    phases.end_wait();
    let Some(moment) = watching.join().unwrap() else {
        return; // It was changing.
    };
    // The changes above, and what each leads to. Were two to have one number, a stall would seem to go on through what
    // ended it.
    let expected = [
        Doing::Nothing,
        Doing::Running,
        Doing::Nothing,
        Doing::Attaching,
    ];
    let changes = usize::try_from(moment.version / 2).unwrap();
    assert_eq!(moment.doing, expected[changes]);
    if moment.doing != Doing::Nothing {
        assert_eq!(moment.thread.ident, IDENT as u64);
    }
}
