//! What a loop records about where its handles and tasks are created.

use std::sync::atomic::{AtomicU32, Ordering};

/// Debug mode and the number of lines of `origins`, together: callbacks and tasks are created often, and one test must
/// tell that there is nothing to record. Relaxed, as switching need not be exact.
#[derive(Debug, Default)]
pub(crate) struct Traces(AtomicU32);

impl Traces {
    /// Whether nothing is recorded.
    #[inline]
    pub(crate) fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// In debug mode, the whole stack is recorded.
    pub(crate) fn set_debug(&self, enabled: bool) {
        if enabled {
            self.0.fetch_or(DEBUG, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!DEBUG, Ordering::Relaxed);
        }
    }

    /// The number of the program's lines to record; 0 in debug mode.
    pub(crate) fn lines(&self) -> usize {
        let found = self.0.load(Ordering::Relaxed);
        if found & DEBUG != 0 {
            return 0;
        }
        usize::try_from(found >> 1).unwrap_or(usize::MAX)
    }

    /// Records so many lines, at most `u32::MAX / 2`, when debug mode is off.
    pub(crate) fn set_lines(&self, lines: usize) {
        let lines = u32::try_from(lines).unwrap_or(u32::MAX).min(u32::MAX >> 1);
        let debug = self.0.load(Ordering::Relaxed) & DEBUG;
        self.0.store(lines << 1 | debug, Ordering::Relaxed);
    }
}

const DEBUG: u32 = 1;

#[cfg(test)]
mod tests {
    use super::Traces;

    #[test]
    fn debug_mode_records_in_place_of_lines() {
        let traces = Traces::default();
        assert!(traces.is_off());
        traces.set_lines(3);
        assert_eq!(traces.lines(), 3);
        traces.set_debug(true);
        assert_eq!((traces.is_off(), traces.lines()), (false, 0));
        traces.set_lines(usize::MAX);
        traces.set_debug(false);
        assert_eq!(traces.lines(), (u32::MAX >> 1) as usize);
        traces.set_lines(0);
        assert!(traces.is_off());
    }
}
