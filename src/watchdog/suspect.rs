//! One loop that has been at the same thing for a while.

use super::kind::{Evidence, Kind};
use crate::scheduler::phases::{Doing, RunningThread};
use crate::sys::thread::Scheduled;

/// What a loop was seen doing. Two equal ones are the same callback, or the same wait for the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    pub(crate) callbacks: u64,
}

/// What was seen of a loop at one moment. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) now: u64,
    pub(super) doing: Doing,
    pub(super) mark: Mark,
    /// When the turn began, or the wait for the GIL.
    pub(super) since: u64,
    pub(super) thread: RunningThread,
    /// Nothing at the first look at something new, which is over at the next one nearly always.
    pub(super) scheduled: Scheduled,
    /// The time of all threads of the process on processors.
    pub(super) process_cpu: Option<u64>,
    pub(super) collecting: u64,
}

/// When a stall is told. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) threshold: u64,
    pub(super) repeat: u64,
    /// CPython's switch interval.
    pub(super) switch: u64,
}

/// A stall, to be told. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) kind: Kind,
    pub(crate) duration: u64,
    /// When that was so, or when it was noticed that the stall has ended.
    pub(crate) seen: u64,
    pub(crate) cpu: Option<u64>,
    pub(crate) delay: Option<u64>,
    pub(crate) collecting: u64,
    pub(crate) ended: bool,
    pub(crate) mark: Mark,
    pub(crate) thread: RunningThread,
}

/// A loop that has been at the same thing since `first`.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    first: Look,
    last: Look,
    /// When that began, as far as it is known.
    began: u64,
    /// The time in which the process stood still.
    stopped: u64,
    /// The part of it before `first`.
    unseen: u64,
    /// The time without a processor, as far as looks show it.
    starved: u64,
    told: Option<u64>,
}

impl Suspect {
    /// The loop is at something at this look, and was not at it at the time `before`.
    pub(super) fn new(look: Look, before: u64) -> Self {
        let began = if look.since > before {
            look.since
        } else {
            look.now
        };
        Self {
            first: look,
            last: look,
            began: began.min(look.now),
            stopped: 0,
            unseen: 0,
            starved: 0,
            told: None,
        }
    }

    pub(super) fn mark(&self) -> Mark {
        self.first.mark
    }

    /// Whether the kernel was asked about the thread.
    pub(super) fn is_known(&self) -> bool {
        self.first.scheduled.cpu_ns.is_some()
    }

    /// The loop is still at it. Before this look, the whole process stood `still` for so long, in a debugger or after
    /// `SIGSTOP`.
    pub(super) fn again(&mut self, look: Look, still: u64) {
        self.count_pauses(&look, still);
        if !self.is_known() {
            self.first = look;
            self.unseen = self.stopped;
            self.starved = 0;
        }
        self.last = look;
    }

    /// Counts what the thread did not have of the time since the last look.
    fn count_pauses(&mut self, look: &Look, still: u64) {
        let elapsed = look.now.saturating_sub(self.last.now);
        let ran = grown(look.scheduled.cpu_ns, self.last.scheduled.cpu_ns).unwrap_or(0);
        if ran < still / 2 {
            self.stopped += still;
        }
        // The kernel counts such a time only once it is over.
        if look.scheduled.is_runnable == Some(true) && ran < elapsed / 2 {
            self.starved += elapsed.saturating_sub(ran);
        }
    }

    /// The stall at the last look, if it is time to tell it.
    pub(super) fn due(&mut self, rules: &Rules) -> Option<Stall> {
        let now = self.last.now;
        let is_due = match self.told {
            None => self.duration(now) >= rules.threshold,
            Some(told) => now.saturating_sub(told) >= rules.repeat,
        };
        is_due.then(|| {
            self.told = Some(now);
            self.stall(now, false, rules)
        })
    }

    /// The stall, if the loop went on at `end`, before this look, and if that was told or took long.
    pub(super) fn ended(
        mut self,
        end: u64,
        look: Look,
        still: u64,
        rules: &Rules,
    ) -> Option<Stall> {
        self.count_pauses(&look, still);
        let duration = self.duration(end);
        // What the thread has done since is in the look, too.
        if look.now.saturating_sub(end) <= duration / 8 {
            self.last = look;
        }
        let is_stall = self.told.is_some() || duration >= rules.threshold;
        is_stall.then(|| self.stall(end, true, rules))
    }

    fn duration(&self, now: u64) -> u64 {
        now.saturating_sub(self.began).saturating_sub(self.stopped)
    }

    fn stall(&self, now: u64, ended: bool, rules: &Rules) -> Stall {
        let (first, last) = (&self.first, &self.last);
        let cpu = grown(last.scheduled.cpu_ns, first.scheduled.cpu_ns);
        let delay = grown(last.scheduled.delay_ns, first.scheduled.delay_ns);
        let process = grown(last.process_cpu, first.process_cpu);
        let evidence = Evidence {
            wall: last
                .now
                .saturating_sub(first.now)
                .saturating_sub(self.stopped - self.unseen),
            threshold: rules.threshold,
            is_attaching: first.doing == Doing::Attaching,
            cpu,
            delay: delay.map(|delay| delay.max(self.starved)),
            times: grown(last.scheduled.times, first.scheduled.times),
            collecting: last.collecting.saturating_sub(first.collecting),
            others: process
                .zip(cpu)
                .map(|(process, cpu)| process.saturating_sub(cpu)),
            switch: rules.switch,
        };
        let duration = self.duration(now);
        // The looks may have missed most of it.
        let is_seen = evidence.wall > duration / 2;
        Stall {
            kind: if is_seen {
                evidence.kind()
            } else {
                Kind::Unknown
            },
            duration,
            seen: last.now,
            cpu,
            delay: evidence.delay,
            collecting: evidence.collecting,
            ended,
            mark: first.mark,
            thread: first.thread,
        }
    }
}

/// How much a number has grown, if it is known.
fn grown(after: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A look at a callback that began at 100 ms and sleeps, 25 ms after each other.
    fn look(number: u64) -> Look {
        Look {
            now: (100 + number * 25) * MS,
            doing: Doing::Running,
            mark: Mark {
                version: 2,
                callbacks: 7,
            },
            since: 100 * MS,
            thread: RunningThread::default(),
            scheduled: Scheduled {
                cpu_ns: Some(3 * MS),
                delay_ns: Some(0),
                times: Some(5),
                is_runnable: Some(false),
            },
            process_cpu: Some(9 * MS),
            collecting: 0,
        }
    }

    fn suspect() -> Suspect {
        Suspect::new(look(1), 99 * MS)
    }

    const RULES: Rules = Rules {
        threshold: 100 * MS,
        repeat: 1_000 * MS,
        switch: 5 * MS,
    };

    fn due(suspect: &mut Suspect) -> Option<Stall> {
        suspect.due(&RULES)
    }

    /// The loop goes on at `end`, 5 ms before a look.
    fn ended(suspect: &Suspect, end: u64) -> Option<Stall> {
        let look = Look {
            now: end + 5 * MS,
            doing: Doing::Nothing,
            ..look(1)
        };
        suspect.clone().ended(end, look, 0, &RULES)
    }

    #[test]
    fn it_is_told_at_the_threshold_at_repeats_and_at_the_end() {
        let mut suspect = suspect();
        let mut told = Vec::new();
        for number in 2..100 {
            suspect.again(look(number), 0);
            told.extend(due(&mut suspect).map(|stall| stall.duration / MS));
        }
        assert_eq!(told, [100, 1100, 2100]);
        let end = ended(&suspect, 2_600 * MS).unwrap();
        assert_eq!((end.duration, end.ended), (2_500 * MS, true));
        assert_eq!(end.kind, Kind::Blocking);
    }

    #[test]
    fn what_ends_before_the_threshold_is_no_stall() {
        let mut suspect = suspect();
        suspect.again(look(3), 0);
        assert!(due(&mut suspect).is_none());
        assert!(ended(&suspect, 190 * MS).is_none());
        assert!(ended(&suspect, 200 * MS).is_some());
    }

    #[test]
    fn the_kernel_is_asked_from_the_second_look_on() {
        let blind = Look {
            scheduled: Scheduled::default(),
            ..look(1)
        };
        let mut suspect = Suspect::new(blind, 99 * MS);
        assert!(!suspect.is_known());
        for number in 2..10 {
            suspect.again(look(number), 0);
        }
        assert!(suspect.is_known());
        let stall = due(&mut suspect).unwrap();
        assert_eq!((stall.kind, stall.cpu), (Kind::Blocking, Some(0)));
        assert_eq!(stall.duration, 225 * MS);
    }

    #[test]
    fn a_stall_that_was_seen_only_at_its_end_has_a_kind_too() {
        let end = ended(&suspect(), 1_100 * MS).unwrap();
        assert_eq!((end.duration, end.kind), (1_000 * MS, Kind::Blocking));
        // Long afterwards, it is not known what the thread did then.
        let late = Look {
            now: 9_000 * MS,
            ..look(1)
        };
        let end = suspect().ended(1_100 * MS, late, 0, &RULES).unwrap();
        assert_eq!((end.duration, end.kind), (1_000 * MS, Kind::Unknown));
    }

    #[test]
    fn a_process_that_stands_still_does_not_stall() {
        let mut suspect = suspect();
        let stopped = 9_950 * MS;
        suspect.again(look(400), stopped);
        assert!(due(&mut suspect).is_none());
        // Nor if the loop goes on before the next look.
        let later = look(400);
        assert!(
            self::suspect()
                .ended(later.now, later, stopped, &RULES)
                .is_none()
        );
        // But its thread may have run meanwhile.
        let mut suspect = self::suspect();
        let mut busy = look(400);
        busy.scheduled.cpu_ns = Some(9_000 * MS);
        suspect.again(busy, stopped);
        assert_eq!(due(&mut suspect).unwrap().kind, Kind::Computing);
    }

    #[test]
    fn a_thread_without_a_processor_is_known_before_it_has_one_again() {
        let mut suspect = suspect();
        for number in 2..10 {
            let mut ready = look(number);
            ready.scheduled.is_runnable = Some(true);
            suspect.again(ready, 0);
        }
        assert_eq!(due(&mut suspect).unwrap().kind, Kind::NoCpu);
    }
}
