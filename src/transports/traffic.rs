//! What moved on a connection, as limits and a drain see it.

use std::cell::Cell;

/// Notes that cost a store or two per read and per write, whether or not anything asks.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Something came since the last look: bytes, or their end.
    came: Cell<bool>,
    /// The kernel took bytes since the last look.
    went: Cell<bool>,
    /// What moved last came in.
    owes: Cell<bool>,
}

impl Traffic {
    #[inline]
    pub(crate) fn note_in(&self) {
        self.came.set(true);
        self.owes.set(true);
    }

    #[inline]
    pub(crate) fn note_out(&self) {
        self.went.set(true);
        self.owes.set(false);
    }

    /// Whether the peer may still expect an answer: nothing was sent since its last bytes.
    pub(crate) fn owes(&self) -> bool {
        self.owes.get()
    }
}
