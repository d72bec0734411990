//! The watchdog's sleep: it never sleeps while a loop that it watches runs.

use std::sync::Arc;

use loom::thread;

use crate::scheduler::alarm::WATCHERS_NAP;
use crate::scheduler::phases::{Doing, Phases};

pub(super) fn is_never_slept_through() {
    let phases = Arc::new(Phases::default());
    phases.begin_run(7);
    phases.end_turn(true);
    phases.alarm.watch();
    let watching = {
        let phases = Arc::clone(&phases);
        thread::spawn(move || until_it_runs(&phases))
    };
    phases.end_wait();
    phases.attached();
    // The loop now runs for ever; a watcher that sleeps on is a deadlock.
    watching.join().unwrap();
}

/// As `Watcher::wait` and `State::may_sleep`.
fn until_it_runs(phases: &Phases) {
    let doing = || phases.moment().map(|moment| moment.doing);
    loop {
        let news = WATCHERS_NAP.news();
        if doing() == Some(Doing::Running) {
            return;
        }
        phases.alarm.fall_asleep();
        if doing() == Some(Doing::Nothing) {
            WATCHERS_NAP.sleep(news, None);
        } else {
            thread::yield_now(); // Looks again soon.
        }
    }
}
