//! Water marks: when a protocol must stop writing, and when it may continue.

/// The marks, in bytes, and whether the protocol is paused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowControl {
    high: usize,
    low: usize,
    paused: bool,
}

/// The method of the protocol to call. The two alternate, beginning with `Pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Pause,
    Resume,
}

impl FlowControl {
    pub(crate) fn new() -> Self {
        Self {
            high: HIGH,
            low: HIGH / 4,
            paused: false,
        }
    }

    pub(crate) fn high(&self) -> usize {
        self.high
    }

    pub(crate) fn low(&self) -> usize {
        self.low
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn set(&mut self, high: usize, low: usize) {
        (self.high, self.low) = (high, low);
    }

    /// To be called after bytes were queued; `size` is the number of queued bytes. When the whole loop `is_pressed`,
    /// any number is too many.
    #[must_use]
    pub(crate) fn grown(&mut self, size: usize, is_pressed: bool) -> Option<Tell> {
        let high = if is_pressed { 0 } else { self.high };
        if self.paused || size <= high {
            return None;
        }
        self.paused = true;
        Some(Tell::Pause)
    }

    /// The protocol is told to pause, whatever is queued.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// To be called after bytes were sent; `size` is the number of bytes still queued.
    #[must_use]
    pub(crate) fn shrunk(&mut self, size: usize) -> Option<Tell> {
        if !self.paused || size > self.low {
            return None;
        }
        self.paused = false;
        Some(Tell::Resume)
    }
}

/// asyncio's default (`transports.py`).
pub(crate) const HIGH: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_and_resume_alternate_at_the_marks() {
        let mut flow = FlowControl::new();
        flow.set(100, 20);
        assert_eq!(flow.shrunk(0), None);
        assert_eq!(flow.grown(100, false), None);
        assert_eq!(flow.grown(101, false), Some(Tell::Pause));
        assert_eq!(flow.grown(500, false), None);
        assert_eq!(flow.shrunk(21), None);
        assert!(flow.is_paused());
        assert_eq!(flow.shrunk(20), Some(Tell::Resume));
        assert_eq!(flow.shrunk(0), None);
        assert_eq!((flow.high(), flow.low()), (100, 20));
        assert_eq!(flow.grown(0, true), None);
        assert_eq!(flow.grown(1, true), Some(Tell::Pause));
    }
}
