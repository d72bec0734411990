//! Why a loop stalls.

/// What most of a stall's time went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The thread slept in a system call.
    Blocking,
    /// The thread used a processor.
    Computing,
    /// The thread waited for the GIL, which others had.
    Gil,
    /// The thread was ready to run, and got no processor.
    NoCpu,
    /// Garbage was collected.
    Gc,
    /// Nothing of these for half of the time, or the system does not tell.
    Unknown,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Computing => "computing",
            Self::Gil => "gil",
            Self::NoCpu => "no_cpu",
            Self::Gc => "gc",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known about a stall so far. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    pub(super) wall: u64,
    /// So long a thread may use a processor before that is a stall.
    pub(super) threshold: u64,
    /// The loop has something to do, and waits until it is attached to Python.
    pub(super) is_attaching: bool,
    pub(super) cpu: Option<u64>,
    /// Without a processor.
    pub(super) delay: Option<u64>,
    /// How often the thread got a processor.
    pub(super) times: Option<u64>,
    pub(super) collecting: u64,
    /// What the process's other threads used of processors.
    pub(super) others: Option<u64>,
    /// CPython's switch interval: a thread that waits for the GIL wakes that often to ask for it again. 0 without a GIL.
    pub(super) switch: u64,
}

impl Evidence {
    /// One kind has at least half of the time, or there is none. A wrong one would accuse a line of the program.
    pub(super) fn kind(&self) -> Kind {
        let half = self.wall / 2;
        if self.collecting >= half {
            return Kind::Gc;
        }
        let Some(cpu) = self.cpu else {
            return Kind::Unknown;
        };
        // A part of a collection may be the thread's own work. What computes for as long as the threshold is a stall on
        // any machine, however long it waits for its processor on this one.
        if cpu.saturating_sub(self.collecting) >= half.min(self.threshold) {
            return Kind::Computing;
        }
        let (Some(delay), Some(times)) = (self.delay, self.times) else {
            return Kind::Unknown;
        };
        if delay >= half {
            return Kind::NoCpu;
        }
        let asleep = self
            .wall
            .saturating_sub(cpu.max(self.collecting))
            .saturating_sub(delay);
        if asleep < half {
            return Kind::Unknown;
        }
        self.asleep(asleep, times)
    }

    /// The kind of a stall in which the thread slept for `asleep`, and woke so many `times`.
    fn asleep(&self, asleep: u64, times: u64) -> Kind {
        if self.switch == 0 {
            return if self.is_attaching {
                Kind::Unknown
            } else {
                Kind::Blocking
            };
        }
        if self.is_attaching {
            return Kind::Gil;
        }
        let Some(others) = self.others else {
            return Kind::Unknown;
        };
        // As often as one who waits for the GIL for all that time.
        let asking = asleep / self.switch;
        let often = times * 10 >= asking * 4;
        let seldom = times <= 2 + asking / 10;
        let (hold, rest) = (others >= asleep / 10 * 4, others < asleep / 10);
        if asking < ENOUGH {
            // So few that the two kinds look the same.
            return if rest { Kind::Blocking } else { Kind::Unknown };
        }
        if often && hold && !seldom {
            Kind::Gil
        } else if seldom || (rest && times * 10 < asking * 6) {
            Kind::Blocking
        } else {
            Kind::Unknown
        }
    }
}

/// Switch intervals in a sleep from which on a wait for the GIL is told from a sleep in a system call.
const ENOUGH: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 100 ms in which nothing happened.
    fn asleep() -> Evidence {
        Evidence {
            wall: 100 * MS,
            threshold: 100 * MS,
            cpu: Some(0),
            delay: Some(0),
            times: Some(1),
            others: Some(0),
            switch: 5 * MS,
            ..Evidence::default()
        }
    }

    #[test]
    fn what_took_half_of_the_time_is_the_kind() {
        let cases = [
            (asleep(), Kind::Blocking),
            (
                Evidence {
                    cpu: Some(60 * MS),
                    ..asleep()
                },
                Kind::Computing,
            ),
            (
                Evidence {
                    delay: Some(60 * MS),
                    ..asleep()
                },
                Kind::NoCpu,
            ),
            (
                Evidence {
                    collecting: 60 * MS,
                    ..asleep()
                },
                Kind::Gc,
            ),
            (
                Evidence {
                    collecting: 60 * MS,
                    cpu: Some(90 * MS),
                    ..asleep()
                },
                Kind::Gc,
            ),
        ];
        for (evidence, kind) in cases {
            assert_eq!(evidence.kind(), kind, "{evidence:?}");
        }
    }

    #[test]
    fn what_computes_for_the_threshold_stalls_on_any_machine() {
        let slow = Evidence {
            wall: 400 * MS,
            cpu: Some(110 * MS),
            delay: Some(290 * MS),
            ..asleep()
        };
        assert_eq!(slow.kind(), Kind::Computing);
        let short = Evidence {
            cpu: Some(90 * MS),
            ..slow
        };
        assert_eq!(short.kind(), Kind::NoCpu);
    }

    #[test]
    fn a_mixture_accuses_no_line() {
        let mixture = Evidence {
            cpu: Some(30 * MS),
            delay: Some(30 * MS),
            collecting: 30 * MS,
            ..asleep()
        };
        assert_eq!(mixture.kind(), Kind::Unknown);
    }

    #[test]
    fn without_the_systems_numbers_only_a_computation_is_known() {
        let blind = Evidence {
            delay: None,
            times: None,
            ..asleep()
        };
        assert_eq!(blind.kind(), Kind::Unknown);
        assert_eq!(Evidence { cpu: None, ..blind }.kind(), Kind::Unknown);
        let busy = Evidence {
            cpu: Some(90 * MS),
            ..blind
        };
        assert_eq!(busy.kind(), Kind::Computing);
    }

    #[test]
    fn where_few_questions_fit_in_no_line_is_accused_while_others_compute() {
        let short = Evidence {
            wall: 30 * MS,
            others: Some(30 * MS),
            ..asleep()
        };
        assert_eq!(short.kind(), Kind::Unknown);
        let alone = Evidence {
            others: Some(0),
            ..short
        };
        assert_eq!(alone.kind(), Kind::Blocking);
        let without_gil = Evidence { switch: 0, ..short };
        assert_eq!(without_gil.kind(), Kind::Blocking);
    }

    #[test]
    fn a_thread_that_waits_for_the_gil_asks_for_it_while_others_have_it() {
        let cases = [
            // It wakes every switch interval, and others use the processor meanwhile.
            (20, 90, Kind::Gil),
            (10, 60, Kind::Gil),
            // A lock, while its holder computes.
            (1, 100, Kind::Blocking),
            // A socket, whose bytes come one after another.
            (8, 0, Kind::Blocking),
            // It asks for the GIL, and its holder sleeps; or a socket, while others compute.
            (20, 0, Kind::Unknown),
            (5, 100, Kind::Unknown),
            (9, 20, Kind::Unknown),
        ];
        for (times, others, kind) in cases {
            let evidence = Evidence {
                times: Some(times),
                others: Some(others * MS),
                ..asleep()
            };
            assert_eq!(evidence.kind(), kind, "{evidence:?}");
        }
        let attaching = Evidence {
            is_attaching: true,
            ..asleep()
        };
        assert_eq!(attaching.kind(), Kind::Gil);
    }
}
