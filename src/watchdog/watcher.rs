//! The thread that watches all loops.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::collections::collecting_ns;
use super::kind::Kind;
use super::suspect::{Look, Mark, Rules, Stall, Suspect};
use crate::scheduler::alarm::WATCHERS_NAP;
use crate::scheduler::meters::Meters;
use crate::scheduler::phases::{Doing, Moment};
use crate::scheduler::seconds;
use crate::sys::clock::monotonic_ns;
use crate::sys::dump::Dumper;
use crate::sys::thread::{Scheduled, current_thread, process_cpu_ns, scheduled};

/// When a stall is told. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) threshold: u64,
    pub(crate) repeat: u64,
    /// Whether a line on the standard error may tell of a stall that Python cannot tell of, for want of the GIL.
    pub(crate) may_print: bool,
    /// What writes the stack of a thread that Python cannot read, for want of the GIL.
    pub(crate) dumper: Option<Dumper>,
}

/// A stall that was noticed, and the number that `add` returned for the loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) watched: u64,
    pub(crate) stall: Stall,
}

/// Watches loops. One thread of the process is in `wait`; all may call the rest.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    watched: Vec<Watched>,
    last_number: u64,
    stopped: bool,
    /// Dropped when what was found has been told.
    untold: Option<Sender<()>>,
}

#[derive(Debug)]
struct Watched {
    number: u64,
    meters: Arc<Meters>,
    limits: Limits,
    suspect: Option<Suspect>,
    /// When it was looked at last, and what it was doing.
    looked: u64,
    mark: Mark,
    /// What its dumper wrote last.
    dumped: Option<String>,
}

impl Watcher {
    /// Watches a loop until `remove` is called with the number that this returns.
    pub(crate) fn add(&self, meters: Arc<Meters>, limits: Limits) -> u64 {
        let mut state = self.state();
        state.last_number += 1;
        let number = state.last_number;
        meters.phases.alarm.watch();
        state.watched.push(Watched {
            number,
            mark: Mark {
                version: 0,
                callbacks: 0,
            },
            meters,
            limits,
            suspect: None,
            looked: monotonic_ns(),
            dumped: None,
        });
        drop(state);
        WATCHERS_NAP.end();
        number
    }

    /// Watches it no more.
    pub(crate) fn remove(&self, number: u64) {
        let mut state = self.state();
        let Some(at) = state.watched.iter().position(|it| it.number == number) else {
            return;
        };
        let removed = state.watched.swap_remove(at);
        let is_same = |other: &Watched| Arc::ptr_eq(&other.meters, &removed.meters);
        if !state.watched.iter().any(is_same) {
            removed.meters.phases.alarm.cease();
        }
    }

    /// Ends `wait` for ever, once it has told what there is to tell.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        WATCHERS_NAP.end();
    }

    /// Whether the loop is still at what a stall was found at.
    pub(crate) fn is_still(&self, number: u64, mark: Mark) -> bool {
        let state = self.state();
        let mut all = state.watched.iter();
        all.find(|it| it.number == number)
            .and_then(Watched::moment)
            .is_some_and(|(_, current)| current == mark)
    }

    /// Takes what the dumper has written of the loop's thread since the last call.
    pub(crate) fn take_dumped(&self, number: u64) -> Option<String> {
        let mut state = self.state();
        let mut all = state.watched.iter_mut();
        all.find(|it| it.number == number)?.dumped.take()
    }

    /// Waits until loops stall; `switch` is CPython's switch interval. `None` after `stop`. Not to be called while
    /// attached.
    pub(crate) fn wait(&self, switch: u64) -> Option<Vec<Found>> {
        self.state().untold = None;
        let mut still = 0;
        let mut own = OwnDelay::default();
        loop {
            let news = WATCHERS_NAP.news();
            let mut state = self.state();
            let (found, is_active) = state.look(still, switch);
            if state.stopped {
                // One look more: the last stall may have ended since the one before.
                state.watched.clear();
                return (!found.is_empty()).then_some(found);
            }
            if !found.is_empty() {
                state.untold = self.speak_unless_told(&state, &found);
                return Some(found);
            }
            let limit = (is_active || !state.may_sleep()).then(|| state.interval());
            drop(state);
            still = sleep(news, limit, &mut own);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Unless the sender that this returns is dropped soon, has another thread print what was found, and dump the stacks:
    /// Python cannot tell it, because some thread does not give the GIL up, or because the thread that stalls has a lock
    /// of the program's logging.
    fn speak_unless_told(&self, state: &State, found: &[Found]) -> Option<Sender<()>> {
        let silent: Vec<Silent> = found.iter().filter_map(|it| state.silent(it)).collect();
        if silent.is_empty() {
            return None;
        }
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::clone(&self.state);
        let speak = move || {
            if receiver.recv_timeout(TELLING) == Err(RecvTimeoutError::Timeout) {
                for stall in silent {
                    stall.speak(&shared);
                }
            }
        };
        let builder = thread::Builder::new().name("yamanote-watch".to_owned());
        // Without a thread, what was found is told once Python can.
        builder.spawn(speak).ok().map(|_| sender)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stall that Python may be unable to tell of.
#[derive(Clone, Copy, Debug)]
struct Silent {
    found: Found,
    limits: Limits,
}

impl Silent {
    /// Tells of it without Python.
    fn speak(self, state: &Mutex<State>) {
        let Self {
            found: Found { watched, stall },
            limits,
        } = self;
        let (thread, kind) = (stall.thread.native_id, stall.kind.name());
        let seconds = seconds(stall.duration);
        let mut text = format!(
            "yamanote: the event loop of thread {thread} has stalled for {seconds:.3} s ({kind}), which cannot be \
             reported yet\n"
        );
        // Ignored: without its stack, the rest is told.
        if let Some(stack) = limits.dumper.and_then(|dumper| dumper.dump(thread).ok()) {
            text.push_str(&stack);
            let mut state = locked(state);
            if let Some(watched) = state.watched.iter_mut().find(|it| it.number == watched) {
                watched.dumped = Some(stack);
            }
        }
        if limits.may_print {
            // A standard error that is closed takes no text.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

impl State {
    /// Looks at each loop. Returns the stalls to tell, and whether any loop does something or did since the last look.
    fn look(&mut self, still: u64, switch: u64) -> (Vec<Found>, bool) {
        let mut found = Vec::new();
        let mut is_active = false;
        for watched in &mut self.watched {
            let (told, active) = watched.look(still, switch);
            is_active |= active;
            let watched = watched.number;
            found.extend(told.map(|stall| Found { watched, stall }));
        }
        (found, is_active)
    }

    /// Announces a sleep to the loops; returns whether they do nothing even then.
    fn may_sleep(&self) -> bool {
        for watched in &self.watched {
            watched.meters.phases.alarm.fall_asleep();
        }
        let is_idle = |it: &Watched| {
            it.moment()
                .is_some_and(|(moment, _)| moment.doing == Doing::Nothing)
        };
        self.watched.iter().all(is_idle)
    }

    /// The stall, if it may be told of without Python. Those that have the GIL may have it for long, but they pass it on.
    fn silent(&self, found: &Found) -> Option<Silent> {
        let mut all = self.watched.iter();
        let limits = all.find(|it| it.number == found.watched)?.limits;
        let speaks = limits.may_print || limits.dumper.is_some();
        let stall = &found.stall;
        (speaks && !stall.ended && stall.kind != Kind::Gil).then_some(Silent {
            found: *found,
            limits,
        })
    }

    /// The time between two looks.
    fn interval(&self) -> Duration {
        let thresholds = self.watched.iter().map(|it| it.limits.threshold);
        let shortest = thresholds.min().unwrap_or(0) / LOOKS;
        Duration::from_nanos(shortest.clamp(SHORTEST_NS, LONGEST_NS))
    }
}

impl Watched {
    /// What the loop is doing.
    fn moment(&self) -> Option<(Moment, Mark)> {
        let moment = (0..TRIES).find_map(|_| self.meters.phases.moment())?;
        let mark = Mark {
            version: moment.version,
            callbacks: self.meters.callbacks.get(),
        };
        Some((moment, mark))
    }

    /// Returns a stall to tell, and whether the loop does something or did since the last look.
    fn look(&mut self, still: u64, switch: u64) -> (Option<Stall>, bool) {
        let before = self.looked;
        let Some((moment, mark)) = self.moment() else {
            self.suspect = None;
            return (None, true);
        };
        self.looked = monotonic_ns();
        let is_active = mark != self.mark || moment.doing != Doing::Nothing;
        self.mark = mark;
        let rules = Rules {
            threshold: self.limits.threshold,
            repeat: self.limits.repeat,
            switch,
        };
        if moment.doing == Doing::Nothing && self.suspect.is_none() {
            return (None, is_active);
        }
        let is_same = |it: &Suspect| moment.doing != Doing::Nothing && it.mark() == mark;
        let asks = (self.suspect.as_ref()).is_some_and(|it| it.is_known() || is_same(it));
        let look = look(self.looked, &moment, mark, asks);
        if let Some(suspect) = &mut self.suspect
            && is_same(suspect)
        {
            suspect.again(look, still);
            return (suspect.due(&rules), true);
        }
        let ended = self.suspect.take().and_then(|suspect| {
            // The turn that it was in ended when the current one began.
            let is_known = moment.since > before && moment.since <= self.looked;
            let end = if is_known { moment.since } else { self.looked };
            suspect.ended(end, look, still, &rules)
        });
        if moment.doing != Doing::Nothing {
            self.suspect = Some(Suspect::new(look, before));
        }
        (ended, is_active)
    }
}

/// What is seen now; `asks` the kernel, too, which takes longer than the rest.
fn look(now: u64, moment: &Moment, mark: Mark, asks: bool) -> Look {
    Look {
        now,
        doing: moment.doing,
        mark,
        since: moment.since,
        thread: moment.thread,
        scheduled: if asks {
            scheduled(moment.thread.native_id)
        } else {
            Scheduled::default()
        },
        process_cpu: asks.then(process_cpu_ns).flatten(),
        collecting: collecting_ns(now),
    }
}

/// How long this thread had no processor, as last asked.
#[derive(Debug, Default)]
struct OwnDelay {
    nanoseconds: u64,
    /// Sleeps until it is asked again.
    left: u32,
}

impl OwnDelay {
    /// Asks now and then: what it misses of short delays in between counts as a part of the next long one.
    fn ask_sometimes(&mut self) {
        if self.left == 0 {
            self.ask();
        }
        self.left -= 1;
    }

    /// Asks, and returns how much it has grown.
    fn ask(&mut self) -> u64 {
        let before = self.nanoseconds;
        self.nanoseconds = scheduled(current_thread()).delay_ns.unwrap_or(0);
        self.left = SLEEPS;
        self.nanoseconds.saturating_sub(before)
    }
}

/// Sleeps for so long, or until a loop does something. Returns for how long the whole process stood still meanwhile: how
/// late this thread woke, without the time in which it had no processor.
fn sleep(news: u32, limit: Option<Duration>, own: &mut OwnDelay) -> u64 {
    let Some(limit) = limit else {
        WATCHERS_NAP.sleep(news, None);
        return 0;
    };
    own.ask_sometimes();
    let began = monotonic_ns();
    WATCHERS_NAP.sleep(news, Some(limit));
    let wanted = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let late = monotonic_ns().saturating_sub(began).saturating_sub(wanted);
    if late < STOPPED_NS {
        return 0;
    }
    let still = late.saturating_sub(own.ask());
    if still < STOPPED_NS { 0 } else { still }
}

/// Looks in the time of the shortest threshold.
const LOOKS: u64 = 8;
/// The time between two looks is between these.
const SHORTEST_NS: u64 = 250_000;
const LONGEST_NS: u64 = 100_000_000;
/// Sleeps between two questions about this thread.
const SLEEPS: u32 = 16;
/// Shorter stops of a process are not told from a late timer.
const STOPPED_NS: u64 = 20_000_000;
/// A change of the phases takes nanoseconds, unless the thread loses its processor in the middle.
const TRIES: usize = 100;
/// The time that Python has to tell a stall.
const TELLING: Duration = Duration::from_millis(30);
