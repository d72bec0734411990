//! Where a loop's time goes: into callbacks, into the kernel's wait, into getting the GIL back.

use super::alarm::Alarm;
use super::meters::{Histogram, Meter};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::hint;
use crate::sys::clock::monotonic_ns;
use crate::sys::thread::current_thread;

/// The time spent so far. Only the loop's thread changes it; every thread may read it. Times are nanoseconds on the
/// monotonic clock, or 0 for "not now".
#[derive(Debug, Default)]
pub(crate) struct Phases {
    /// Odd while a change is being made; a reader that saw it change reads again (a sequence lock).
    version: AtomicU64,
    /// Nanoseconds in runs that are over, and when the current run began.
    ran: Meter,
    running_since: Meter,
    /// Nanoseconds in waits of the kernel that are over, and when the current one began.
    idle: Meter,
    idle_since: Meter,
    /// Nanoseconds from the ends of such waits until the thread was attached to Python again, and when the current
    /// wait of the kernel ended.
    attaching: Meter,
    attaching_since: Meter,
    /// When the turn began. While there is more to run, a turn begins where the last one ended.
    turn_began: Meter,
    turns: Histogram,
    /// The thread of the current run, or of the last one: `threading.get_ident()` and `threading.get_native_id()`.
    ident: Meter,
    native_id: Meter,
    pub(crate) alarm: Alarm,
}

/// What a loop is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It does not run, or waits in the kernel.
    Nothing,
    /// The kernel's wait is over, and the thread waits until it is attached to Python.
    Attaching,
    Running,
}

/// What a loop is doing at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) doing: Doing,
    /// Each run and each wait of the kernel has other numbers.
    pub(crate) version: u64,
    /// When the turn, or the wait until attached, began.
    pub(crate) since: u64,
    pub(crate) thread: RunningThread,
}

/// The thread that a loop runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunningThread {
    /// As `threading.get_ident()` returns it.
    pub(crate) ident: u64,
    /// As `threading.get_native_id()` returns it.
    pub(crate) native_id: u64,
}

/// What a loop's time has gone into so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) busy: u64,
    pub(crate) idle: u64,
    pub(crate) attaching: u64,
}

/// The turn that a nested run interrupts.
#[derive(Debug)]
pub(crate) struct Outer(Option<u64>);

impl Phases {
    /// A run begins, on the thread with this `threading.get_ident()`. Returns what `end_run` takes.
    pub(crate) fn begin_run(&self, ident: usize) -> Outer {
        if self.running_since.get() != 0 {
            return Outer(Some(self.turn_began.get()));
        }
        let now = self.change(|now| {
            self.ident.set(ident as u64);
            self.native_id.set(current_thread());
            self.running_since.set(now);
        });
        self.turn_began.set(now);
        self.alarm.busy();
        Outer(None)
    }

    /// In a forked child, on its only thread, which the kernel gave another number. Unless the loop `runs` on it, the
    /// thread that ran it is not there, and may have been in the middle of a change.
    pub(super) fn forked(&self, runs: bool) {
        self.change(|now| {
            self.native_id.set(current_thread());
            if !runs {
                for began in [&self.running_since, &self.idle_since, &self.attaching_since] {
                    began.set(0);
                }
                self.turn_began.set(now);
            }
        });
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version & !1, Ordering::Relaxed);
    }

    /// A run is over. If it was nested, the turn around it goes on.
    pub(crate) fn end_run(&self, outer: &Outer) {
        if let Outer(Some(turn_began)) = outer {
            self.turn_began.set(*turn_began);
            return;
        }
        self.change(|now| {
            self.ran.add(now.saturating_sub(self.running_since.get()));
            self.running_since.set(0);
        });
    }

    /// A turn is over. If the kernel's wait follows, idle time begins.
    #[inline]
    pub(crate) fn end_turn(&self, waits: bool) {
        let now = if waits {
            self.change(|now| self.idle_since.set(now))
        } else {
            monotonic_ns()
        };
        self.turns.record(now.saturating_sub(self.turn_began.get()));
        self.turn_began.set(now);
    }

    /// The kernel's wait is over; the thread is not attached yet.
    #[inline]
    pub(crate) fn end_wait(&self) {
        self.change(|now| self.attaching_since.set(now));
    }

    /// The thread is attached again: a turn begins.
    #[inline]
    pub(crate) fn attached(&self) {
        let now = self.change(|now| {
            let woken = self.attaching_since.get();
            self.idle.add(woken.saturating_sub(self.idle_since.get()));
            self.attaching.add(now.saturating_sub(woken));
            self.idle_since.set(0);
            self.attaching_since.set(0);
        });
        self.turn_began.set(now);
        self.alarm.busy();
    }

    /// If something happened before the kernel's wait began, there was none.
    #[inline]
    pub(crate) fn resume(&self) {
        if self.idle_since.get() != 0 {
            self.end_wait();
            self.attached();
        }
    }

    /// Makes a change at a point in time, and returns that.
    #[inline]
    fn change(&self, change: impl FnOnce(u64)) -> u64 {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        // A reader that sees one of the changes sees the odd version, too.
        fence(Ordering::Release);
        // Not earlier: a reader may just have counted the time up to its own reading of the clock.
        let now = monotonic_ns();
        change(now);
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
        now
    }

    /// The time until now.
    pub(crate) fn spent(&self) -> Spent {
        for _ in 0..MOST_TRIES {
            let version = self.version.load(Ordering::Acquire);
            let spent = self.spent_at(monotonic_ns());
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return spent;
            }
            hint::spin_loop();
        }
        self.spent_at(monotonic_ns())
    }

    fn spent_at(&self, now: u64) -> Spent {
        let since = |meter: &Meter, end: u64| match meter.get() {
            0 => 0,
            begun => end.saturating_sub(begun),
        };
        let woken = self.attaching_since.get();
        let end_of_wait = if woken == 0 { now } else { woken };
        let idle = self.idle.get() + since(&self.idle_since, end_of_wait);
        let attaching = self.attaching.get() + since(&self.attaching_since, now);
        let ran = self.ran.get() + since(&self.running_since, now);
        Spent {
            busy: ran.saturating_sub(idle + attaching),
            idle,
            attaching,
        }
    }

    /// What the loop is doing; `None` while that changes.
    pub(crate) fn moment(&self) -> Option<Moment> {
        let version = self.version.load(Ordering::Acquire);
        let (woken, idle) = (self.attaching_since.get(), self.idle_since.get());
        let doing = if woken != 0 {
            Doing::Attaching
        } else if idle != 0 || self.running_since.get() == 0 {
            Doing::Nothing
        } else {
            Doing::Running
        };
        let moment = Moment {
            doing,
            version,
            since: if woken != 0 {
                woken
            } else {
                self.turn_began.get()
            },
            thread: RunningThread {
                ident: self.ident.get(),
                native_id: self.native_id.get(),
            },
        };
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        is_whole.then_some(moment)
    }

    /// The thread that the loop runs on.
    pub(crate) fn running_thread(&self) -> Option<RunningThread> {
        for _ in 0..MOST_TRIES {
            if let Some(moment) = self.moment() {
                return (self.running_since.get() != 0).then_some(moment.thread);
            }
            hint::spin_loop();
        }
        None
    }

    /// Nanoseconds in waits of the kernel that are over, and until the thread was attached again after each.
    pub(super) fn waited(&self) -> (u64, u64) {
        (self.idle.get(), self.attaching.get())
    }

    /// When the kernel's wait began that goes on, and when it ended, 0 if it has not.
    pub(super) fn waiting(&self) -> Option<(u64, u64)> {
        let since = self.idle_since.get();
        (since != 0).then(|| (since, self.attaching_since.get()))
    }

    /// When the current or the last turn began.
    pub(super) fn turn_began(&self) -> u64 {
        self.turn_began.get()
    }

    /// How long turns took.
    pub(crate) fn turns(&self) -> &Histogram {
        &self.turns
    }
}

/// A change takes nanoseconds. In a forked child it may never end, because the thread that made it is not there.
const MOST_TRIES: usize = 10_000;
