//! A byte pattern that reveals lost, duplicated or reordered data.

use std::{io, rc::Rc};

use crate::conversation::Reply;

/// A prime, so that a shift by a power of two is detected.
const PERIOD: usize = 251;

/// The messages of one connection: each starts one byte further into a repeating pattern.
///
/// All connections share the bytes: a thousand of them with 256 KiB need the memory of one message.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    bytes: Rc<[u8]>,
    size: usize,
    next: usize,
}

impl Messages {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = (0..size + PERIOD).map(|i| u8::try_from(i % PERIOD).expect("below 251"));
        Self {
            bytes: bytes.collect(),
            size,
            next: 0,
        }
    }

    /// Returns the same messages with another start, so that data of another connection is detected.
    pub(crate) fn for_connection(&self, number: usize) -> Self {
        Self {
            next: number * 17 % PERIOD,
            ..self.clone()
        }
    }

    pub(crate) fn next_message(&mut self) -> &[u8] {
        let start = self.next;
        self.next = (start + 1) % PERIOD;
        &self.bytes[start..start + self.size]
    }
}

/// Compares the echo with what was sent.
#[derive(Debug)]
pub(crate) struct Echo<'a> {
    pub(crate) expected: &'a [u8],
}

impl Reply for Echo<'_> {
    fn accept(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match self.expected.split_at_checked(bytes.len()) {
            Some((expected, rest)) if expected == bytes => {
                self.expected = rest;
                Ok(rest.is_empty())
            }
            Some(_) => Err(wrong("the echo differs from what was sent")),
            None => Err(wrong("the echo is longer than what was sent")),
        }
    }
}

fn wrong(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successive_messages_differ() {
        let mut messages = Messages::new(1);
        let first = messages.next_message().to_vec();
        assert_ne!(first, messages.next_message());
        let mut other = messages.for_connection(1);
        assert_ne!(first, other.next_message());
    }

    #[test]
    fn an_echo_may_come_in_pieces() {
        let mut echo = Echo { expected: b"abc" };
        assert!(!echo.accept(b"ab").unwrap());
        assert!(echo.accept(b"c").unwrap());
    }

    #[test]
    fn a_wrong_or_long_echo_is_refused() {
        assert!(Echo { expected: b"abc" }.accept(b"ax").is_err());
        assert!(Echo { expected: b"abc" }.accept(b"abcd").is_err());
    }
}
