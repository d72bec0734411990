//! What moved on a connection, as limits and a drain see it.

use std::cell::Cell;

/// Notes that cost an instruction or two per read and per write, whether or not anything asks.
#[derive(Debug, Default)]
pub(crate) struct Traffic(Cell<u8>);

/// Something came since the last look: bytes, or their end.
const CAME: u8 = 1;
/// The kernel took bytes since the last look.
const WENT: u8 = 2;
/// What moved last came in.
const OWES: u8 = 4;
/// Something has come.
const HEARD: u8 = 8;
/// Bytes waited for the peer at the last look.
const STALLED: u8 = 16;
/// A TLS handshake that began with the connection is not over.
const SHAKING: u8 = 32;
/// Nothing went out since a drain looked, and nothing was owed then.
const RESTED: u8 = 64;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub(super) struct Moves {
    /// Bytes moved in either direction since the last look.
    pub(super) moved: bool,
    /// The peer took bytes since the last look, or none waited for it then.
    pub(super) flowed: bool,
    /// Something has come from the peer.
    pub(super) heard: bool,
    /// A handshake is not over.
    pub(super) shaking: bool,
}

impl Traffic {
    #[inline]
    pub(crate) fn note_in(&self) {
        self.0.set(self.0.get() | CAME | OWES);
    }

    #[inline]
    pub(crate) fn note_out(&self) {
        self.0.set(self.0.get() & !(OWES | RESTED) | WENT);
    }

    /// Whether the peer may still expect an answer: nothing was sent since its last bytes.
    pub(crate) fn owes(&self) -> bool {
        self.0.get() & OWES != 0
    }

    /// A drain looks: whether nothing has moved since its last look, and nothing is owed.
    pub(crate) fn has_rested(&self) -> bool {
        let before = self.0.get();
        if before & OWES != 0 {
            self.0.set(before & !RESTED);
            return false;
        }
        self.0.set(before | RESTED);
        before & RESTED != 0
    }

    /// The connection begins with a handshake.
    pub(crate) fn begin_handshake(&self) {
        self.0.set(self.0.get() | SHAKING);
    }

    pub(crate) fn end_handshake(&self) {
        self.0.set(self.0.get() & !SHAKING);
    }

    /// Looks, and begins to note anew. `waits` says whether bytes wait for the peer.
    pub(super) fn look(&self, waits: bool) -> Moves {
        let before = self.0.get();
        let is = |flags| before & flags != 0;
        let heard = is(HEARD | CAME);
        let mut after = before & (OWES | SHAKING | RESTED);
        for (holds, flag) in [(heard, HEARD), (waits, STALLED)] {
            if holds {
                after |= flag;
            }
        }
        self.0.set(after);
        Moves {
            moved: is(CAME | WENT),
            flowed: is(WENT) || !is(STALLED),
            heard,
            shaking: is(SHAKING),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_owed_until_something_goes_out() {
        let traffic = Traffic::default();
        assert!(!traffic.owes());
        traffic.note_in();
        assert!(traffic.owes());
        traffic.look(false);
        assert!(traffic.owes());
        traffic.note_out();
        assert!(!traffic.owes());
    }

    #[test]
    fn a_look_tells_what_moved_since_the_last_one() {
        let traffic = Traffic::default();
        let moves = |moved, flowed, heard| Moves {
            moved,
            flowed,
            heard,
            shaking: false,
        };
        assert_eq!(traffic.look(false), moves(false, true, false));
        traffic.note_in();
        assert_eq!(traffic.look(true), moves(true, true, true));
        assert_eq!(traffic.look(true), moves(false, false, true));
        traffic.note_out();
        assert_eq!(traffic.look(true), moves(true, true, true));
        assert_eq!(traffic.look(false), moves(false, false, true));
        assert_eq!(traffic.look(true), moves(false, true, true));
    }

    #[test]
    fn a_connection_has_rested_if_nothing_moved_between_two_looks() {
        let traffic = Traffic::default();
        assert!(!traffic.has_rested());
        assert!(traffic.has_rested());
        traffic.note_in();
        assert!(!traffic.has_rested());
        traffic.note_out();
        assert!(!traffic.has_rested());
        traffic.look(false);
        assert!(traffic.has_rested());
        traffic.note_in();
        traffic.note_out();
        assert!(!traffic.has_rested());
    }

    #[test]
    fn a_handshake_lasts_until_it_ends() {
        let traffic = Traffic::default();
        traffic.begin_handshake();
        traffic.note_in();
        assert!(traffic.look(false).shaking);
        assert!(traffic.look(false).shaking);
        traffic.end_handshake();
        assert!(!traffic.look(false).shaking);
    }
}
