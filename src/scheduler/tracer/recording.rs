//! What a loop did while a trace was taken.

use std::cmp::Reverse;
use std::mem;

use pyo3::prelude::*;

use super::ring::Ring;
use crate::driver::{READ, WRITE};
use crate::ffi::make;
use crate::ffi::naming::Called;
use crate::scheduler::phases::Phases;
use crate::sys::clock::monotonic_ns;

/// What a slice of time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Turn,
    /// The kernel's wait.
    Wait,
    /// From the end of that wait until the thread was attached again.
    Attach,
    /// A callback, or the step of a task.
    Callback,
    /// Something happened to a descriptor.
    Readable,
    Writable,
    /// Both at once.
    Both,
    Accept,
    /// A Rust future was woken.
    Future,
    /// Steps of transports that run in a later pass than their cause.
    ConnectionMade,
    ConnectionLost,
    DataReceived,
    EofReceived,
    /// A future is completed that waits for a descriptor.
    SetResult,
    /// What callbacks have written is sent after them.
    Send,
}

impl Kind {
    /// What happened to a descriptor: `READ`, `WRITE` or both.
    pub(crate) fn of_event(ready: u8) -> Self {
        match ready {
            READ => Self::Readable,
            WRITE => Self::Writable,
            _ => Self::Both,
        }
    }

    /// The word for it in a trace.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Wait => "wait",
            Self::Attach => "attach",
            Self::Callback => "callback",
            Self::Readable => "readable",
            Self::Writable => "writable",
            Self::Both => "readable, writable",
            Self::Accept => "accept",
            Self::Future => "future",
            Self::ConnectionMade => "connection_made",
            Self::ConnectionLost => "connection_lost",
            Self::DataReceived => "data_received",
            Self::EofReceived => "eof_received",
            Self::SetResult => "set_result",
            Self::Send => "send",
        }
    }
}

/// A slice of a thread's time. Times are nanoseconds on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) began: u64,
    /// 0 while it lasts.
    pub(crate) ended: u64,
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    pub(crate) kind: Kind,
    pub(crate) called: Option<Called>,
}

/// What does not go into the ring, or has left it: the caller drops it once the lock is released.
type Gone = Option<Called>;

#[derive(Debug)]
pub(super) struct Recording {
    ring: Ring<Event>,
    began: u64,
    thread: u32,
    /// When the last slice of the current turn ended, so that the next one begins then without another look at the
    /// clock; 0 if that is not known.
    last: u64,
    /// When the current turn began, or the recording in the middle of it; 0 outside of a turn. The turns around a
    /// nested run.
    turn: u64,
    outer: Vec<u64>,
    /// The turn that `turn` is, on the clock of the phases.
    seen: u64,
    /// What the phases had counted when the current turn began.
    idle: u64,
    attaching: u64,
}

impl Recording {
    /// Starts with the loop as it is.
    pub(super) fn new(capacity: usize, first: u64, phases: &Phases) -> Self {
        let began = monotonic_ns();
        let (idle, attaching) = phases.waited();
        let in_turn = phases.running_thread().is_some() && phases.waiting().is_none();
        Self {
            ring: Ring::new(capacity, first),
            began,
            thread: thread_of(phases),
            last: 0,
            turn: if in_turn { began } else { 0 },
            outer: Vec::new(),
            seen: if in_turn { phases.turn_began() } else { 0 },
            idle,
            attaching,
        }
    }

    /// A slice begins where the last one ended. Returns its number, 0 for none.
    #[inline]
    pub(super) fn begin(
        &mut self,
        kind: Kind,
        called: Option<Called>,
        phases: &Phases,
    ) -> (u64, Gone, [Gone; 3]) {
        let before = self.note_turn(phases);
        if self.last == 0 {
            self.last = monotonic_ns();
        }
        let (number, gone) = self.push(kind, self.last, 0, called);
        // A slice inside this one begins later.
        self.last = 0;
        (number.unwrap_or(0), gone, before)
    }

    #[inline]
    pub(super) fn end(&mut self, number: u64) {
        self.last = monotonic_ns();
        if let Some(event) = self.ring.get_mut(number) {
            event.ended = self.last;
        }
    }

    /// If a turn has begun since the last time, adds what came before it.
    #[inline]
    pub(super) fn note_turn(&mut self, phases: &Phases) -> [Gone; 3] {
        if self.seen == phases.turn_began() {
            return [const { None }; 3];
        }
        // The look at the kernel is in no slice but the turn's.
        self.last = 0;
        self.begin_turn(phases)
    }

    /// A run begins on this thread, perhaps inside another one.
    pub(super) fn begin_run(&mut self, is_nested: bool, phases: &Phases) {
        if is_nested && self.outer.try_reserve(1).is_ok() {
            self.outer.push(self.turn);
        }
        self.thread = thread_of(phases);
        self.last = 0;
        self.seen = phases.turn_began();
        // For the phases, the first turn of a nested run is a part of the one around it.
        self.turn = if is_nested { monotonic_ns() } else { self.seen };
        (self.idle, self.attaching) = phases.waited();
    }

    /// The run is about to end, and with it its last turn. If it is nested, the turn around it goes on.
    pub(super) fn end_run(&mut self, is_nested: bool, phases: &Phases) -> [Gone; 3] {
        // For the phases, the next turn begins where one ends.
        let gone = self.note_turn(phases);
        // The outer turn shows itself again with its next slice.
        self.seen = 0;
        self.turn = if is_nested {
            self.outer.pop().unwrap_or(self.began)
        } else {
            0
        };
        gone
    }

    /// The events in the order of their beginnings, a slice before those inside it; and how many were dropped.
    pub(super) fn finish(mut self, phases: &Phases) -> PyResult<(Vec<Event>, u64)> {
        if self.turn != 0 {
            drop(self.note_turn(phases));
        }
        let now = monotonic_ns();
        let mut last = Vec::new();
        if let Some((since, woken)) = phases.waiting() {
            let since = since.max(self.began);
            let woken = if woken == 0 { now } else { woken };
            last.push((Kind::Turn, self.turn, since));
            last.push((Kind::Wait, since, woken));
            last.push((Kind::Attach, woken, now));
        } else {
            last.push((Kind::Turn, self.turn, now));
        }
        last.extend(self.outer.iter().map(|turn| (Kind::Turn, *turn, now)));
        let dropped = self.ring.dropped();
        let thread = self.thread;
        let mut events = Vec::new();
        events
            .try_reserve_exact(self.ring.len() + last.len())
            .map_err(make::no_memory)?;
        events.extend(mem::replace(&mut self.ring, Ring::new(1, 0)).into_items());
        for event in &mut events {
            if event.ended == 0 {
                event.ended = now;
            }
        }
        let last = last
            .into_iter()
            .filter(|(_, began, ended)| *began != 0 && began < ended);
        events.extend(last.map(|(kind, began, ended)| Event {
            began,
            ended,
            thread,
            kind,
            called: None,
        }));
        events.sort_by_key(|event| (event.began, Reverse(event.ended)));
        Ok((events, dropped))
    }

    /// How many events it holds.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.ring.dropped()
    }

    /// The number of the event after the last one.
    pub(super) fn next(&self) -> u64 {
        self.ring.next()
    }

    /// A turn begins, after a wait or right after the last one, which is over.
    fn begin_turn(&mut self, phases: &Phases) -> [Gone; 3] {
        let began = phases.turn_began();
        let (idle, attaching) = phases.waited();
        let woken = began.saturating_sub(attaching.wrapping_sub(self.attaching));
        let over = woken
            .saturating_sub(idle.wrapping_sub(self.idle))
            .max(self.began);
        let gone = [
            self.push_turn(over),
            self.push_if(Kind::Wait, over, woken),
            self.push_if(Kind::Attach, woken, began),
        ];
        (self.idle, self.attaching) = (idle, attaching);
        (self.turn, self.seen) = (began.max(self.began), began);
        gone
    }

    fn push_turn(&mut self, ended: u64) -> Gone {
        if self.turn == 0 {
            return None;
        }
        self.push_if(Kind::Turn, self.turn, ended)
    }

    /// Adds a slice that is over, unless it is empty.
    fn push_if(&mut self, kind: Kind, began: u64, ended: u64) -> Gone {
        if began >= ended {
            return None;
        }
        self.push(kind, began, ended, None).1
    }

    #[inline]
    fn push(
        &mut self,
        kind: Kind,
        began: u64,
        ended: u64,
        called: Option<Called>,
    ) -> (Option<u64>, Gone) {
        let (number, gone) = self.ring.push(Event {
            began,
            ended,
            thread: self.thread,
            kind,
            called,
        });
        (number, gone.and_then(|event| event.called))
    }
}

/// The part that an event keeps of the kernel's number of the loop's thread: on Linux all of it.
fn thread_of(phases: &Phases) -> u32 {
    let number = phases.running_thread().unwrap_or_default().native_id;
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}
