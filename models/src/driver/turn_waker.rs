//! The waker of a turn; that it fails is not modelled.

use std::task::Waker;

pub(super) struct TurnWaker(Waker);

impl TurnWaker {
    pub(super) fn new(waker: &Waker) -> Self {
        Self(waker.clone())
    }

    pub(super) fn wake(&mut self) -> bool {
        self.0.wake_by_ref();
        true
    }
}
