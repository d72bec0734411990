//! How long a connection may keep a server waiting.

/// In milliseconds; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeLimits {
    pub(crate) first_byte: u32,
    pub(crate) handshake: u32,
    pub(crate) write_stall: u32,
    pub(crate) idle: u32,
}

/// Which limit a connection has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    FirstByte,
    Handshake,
    WriteStall,
    Idle,
}

/// What a look at a connection found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// The shortest of its limits, in milliseconds; 0 without any.
    pub(crate) shortest: u32,
    pub(crate) overdue: Option<Overdue>,
}

impl TimeLimits {
    /// The shortest limit; 0 without any.
    pub(crate) fn shortest(self) -> u32 {
        let all = [self.first_byte, self.handshake, self.write_stall, self.idle];
        let set = all.into_iter().filter(|limit| *limit > 0);
        set.min().unwrap_or(0)
    }
}

/// The loop's time for limits: milliseconds, modulo 2^32, which are 49 days.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the clock wraps around; a time below zero, which only a program's own clock has, counts as zero"
)]
pub(crate) fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1e3) as u64 as u32
}
