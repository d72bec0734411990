//! `reading`: reads that end at a separator, a number of bytes or the end, while bytes come in pieces, against
//! asyncio's `StreamReader`, which searches everything anew.

use std::cell::Cell;

use pyo3::object::Value;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::fields::Fields;
use super::reading::{self, Attempt, Want};
use crate::input::Input;

/// How a read ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    Bytes(Vec<u8>),
    /// `IncompleteReadError(partial, expected)`.
    Incomplete(Vec<u8>, Option<usize>),
    /// `LimitOverrunError(message, consumed)`.
    Overrun(String, usize),
    /// `ValueError(message)`, of `readline`.
    Value(String),
}

/// `asyncio.StreamReader` (`streams.py`).
struct Asyncio {
    buffer: Vec<u8>,
    eof: bool,
    limit: usize,
    /// Calls of `_maybe_resume_transport`.
    resumed: usize,
}

impl Asyncio {
    fn take(&mut self, count: usize) -> Vec<u8> {
        self.buffer.drain(..count.min(self.buffer.len())).collect()
    }

    /// Takes bytes, and lets a paused transport go on.
    fn take_and_resume(&mut self, count: usize) -> Vec<u8> {
        self.resumed += 1;
        self.take(count)
    }

    /// `None` while it waits for data.
    fn read(&mut self, want: &Want) -> Option<Outcome> {
        match want {
            Want::Some(_) if self.buffer.is_empty() && !self.eof => None,
            Want::Some(most) => Some(Outcome::Bytes(self.take_and_resume(*most))),
            Want::Exactly(count) if self.buffer.len() >= *count => {
                Some(Outcome::Bytes(self.take_and_resume(*count)))
            }
            Want::Exactly(count) => self
                .eof
                .then(|| Outcome::Incomplete(self.take(usize::MAX), Some(*count))),
            Want::Until(separator) => self.readuntil(separator.bind(Python::token()).as_bytes()),
            Want::Line => Some(match self.readuntil(b"\n")? {
                Outcome::Incomplete(partial, _) => Outcome::Bytes(partial),
                Outcome::Overrun(message, consumed) => {
                    let is_newline = self.buffer[consumed..].starts_with(b"\n");
                    self.take_and_resume(if is_newline { consumed + 1 } else { usize::MAX });
                    Outcome::Value(message)
                }
                outcome => outcome,
            }),
        }
    }

    fn readuntil(&mut self, separator: &[u8]) -> Option<Outcome> {
        let found = self
            .buffer
            .windows(separator.len())
            .position(|window| window == separator);
        let Some(isep) = found else {
            let offset = (self.buffer.len() + 1).saturating_sub(separator.len());
            if offset > self.limit {
                let message = "Separator is not found, and chunk exceed the limit";
                return Some(Outcome::Overrun(message.to_owned(), offset));
            }
            return self
                .eof
                .then(|| Outcome::Incomplete(self.take(usize::MAX), None));
        };
        if isep > self.limit {
            let message = "Separator is found, but chunk is longer than limit";
            return Some(Outcome::Overrun(message.to_owned(), isep));
        }
        Some(Outcome::Bytes(self.take_and_resume(isep + separator.len())))
    }
}

pub(crate) fn fuzz(mut input: Input<'_>) {
    let limit = input.below(40);
    let fields = Fields {
        limit,
        ..Fields::default()
    };
    let mut asyncio = Asyncio {
        buffer: Vec::new(),
        eof: false,
        limit,
        resumed: 0,
    };
    let searched = Cell::new(0);
    let mut pending: Option<Want> = None;
    while let Some(step) = input.step() {
        match step {
            // A read that waits goes on, or is cancelled and followed by another.
            _ if step & 1 == 1 => {
                if pending.is_none() || step < 16 {
                    searched.set(0);
                    let want = wanted(&mut input);
                    pending = one_attempt(reading::begin, &fields, &mut asyncio, want, &searched);
                }
                continue;
            }
            254 => (asyncio.eof, _) = (true, fields.is_at_end.replace(true)),
            _ => {
                let came = some_bytes(&mut input, usize::from(step / 2 % 16));
                if came.is_empty() || asyncio.eof {
                    continue; // Nothing wakes the read.
                }
                asyncio.buffer.extend(&came);
                fields.buffer.borrow_mut().extend(came);
            }
        }
        if let Some(want) = pending.take() {
            pending = one_attempt(reading::attempt, &fields, &mut asyncio, want, &searched);
        }
    }
}

/// Few letters, so that separators and their beginnings are often there.
fn some_bytes(input: &mut Input<'_>, most: usize) -> Vec<u8> {
    input
        .bytes(most)
        .iter()
        .map(|byte| b"\n\rab"[usize::from(byte % 4)])
        .collect()
}

fn wanted(input: &mut Input<'_>) -> Want {
    match input.byte() % 4 {
        // `read(0)` does not come here.
        0 => Want::Some(1 + input.below(20)),
        1 => Want::Exactly(1 + input.below(60)),
        2 => {
            let size = 1 + input.below(4);
            let mut separator = some_bytes(input, size);
            separator.resize(size, b'a');
            Want::Until(Py::of(Value::Bytes(separator)))
        }
        _ => Want::Line,
    }
}

type Try = for<'py> fn(&Fields<'py>, &Want, &Cell<usize>) -> PyResult<Attempt<'py>>;

/// Returns the read if it still waits.
fn one_attempt(
    attempt: Try,
    fields: &Fields<'_>,
    asyncio: &mut Asyncio,
    want: Want,
    searched: &Cell<usize>,
) -> Option<Want> {
    let expected = asyncio.read(&want);
    let outcome = match attempt(fields, &want, searched) {
        Ok(Attempt::Wait(received)) => {
            assert_eq!(received.len(), asyncio.buffer.len());
            None
        }
        Ok(Attempt::Ordinary) => panic!("asyncio's own method is not needed"),
        Ok(Attempt::Done(bytes)) => Some(Outcome::Bytes(contents(&bytes))),
        Err(error) => Some(raised(&error)),
    };
    assert_eq!(outcome, expected, "{want:?}");
    assert_eq!(*fields.buffer.borrow(), asyncio.buffer, "{want:?}");
    assert_eq!(fields.resumed.get(), asyncio.resumed, "{want:?}");
    outcome.is_none().then_some(want)
}

fn contents(bytes: &Bound<'_, PyAny>) -> Vec<u8> {
    bytes
        .cast_exact::<PyBytes>()
        .expect("bytes")
        .as_bytes()
        .to_vec()
}

fn raised(error: &PyErr) -> Outcome {
    let arguments: Vec<_> = error
        .arguments()
        .iter()
        .map(|argument| &argument.object().value)
        .collect();
    match (error.class(), arguments.as_slice()) {
        ("IncompleteReadError", [Value::Bytes(partial), Value::None]) => {
            Outcome::Incomplete(partial.clone(), None)
        }
        ("IncompleteReadError", [Value::Bytes(partial), Value::Int(expected)]) => {
            Outcome::Incomplete(partial.clone(), usize::try_from(*expected).ok())
        }
        ("LimitOverrunError", [Value::Str(message), Value::Int(consumed)]) => {
            Outcome::Overrun(message.clone(), usize::try_from(*consumed).expect("a size"))
        }
        ("ValueError", [Value::Str(message)]) => Outcome::Value(message.clone()),
        (class, _) => panic!("{class}"),
    }
}
