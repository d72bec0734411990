//! The limits of a loop, and the looks at its connections.

use std::cell::Cell;
use std::sync::Arc;

use crate::scheduler::admission::{Admission, Gate};

/// What limits on servers need of a loop.
#[derive(Default)]
pub(crate) struct Limiting {
    /// For the connections of all servers.
    gate: Arc<Gate>,
    /// Of the connection whose transport is created next.
    admitted: Cell<Option<Admission>>,
    /// Milliseconds between two looks; 0 while there are none.
    every: Cell<u32>,
}

impl Limiting {
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The next transport that is created is that of an accepted connection; `None` takes that back.
    pub(crate) fn admit(&self, admission: Option<Admission>) {
        drop(self.admitted.replace(admission));
    }

    #[inline]
    pub(crate) fn take_admitted(&self) -> Option<Admission> {
        self.admitted.take()
    }

    /// For a connection with a limit of so many milliseconds: returns when to look next, if that is sooner than the
    /// look that is due.
    pub(crate) fn sooner(&self, shortest: u32) -> Option<u32> {
        let every = interval(shortest);
        let is_sooner = self.every.get() == 0 || every < self.every.get();
        is_sooner.then(|| {
            self.every.set(every);
            every
        })
    }

    /// Whether there are no looks.
    #[inline]
    pub(crate) fn is_still(&self) -> bool {
        self.every.get() == 0
    }

    /// After a look, for a shortest limit of so many milliseconds: returns when to look again; 0 for never.
    pub(crate) fn looked(&self, shortest: u32) -> u32 {
        self.every.set(interval(shortest));
        self.every.get()
    }
}

/// What the reactor's timer fires when it is time to look: the source that calls Python's `_look()`.
pub(in crate::scheduler) struct Looks;

/// Looks come so often that a limit is exceeded by at most a sixteenth.
fn interval(shortest: u32) -> u32 {
    if shortest == 0 {
        0
    } else {
        (shortest / 16).max(1)
    }
}
