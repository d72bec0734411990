//! `write_buffer`: a queue of chunks against a queue of bytes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use super::write_buffer::{Mark, WriteBuffer};
use crate::input::{Input, Letters};

/// Bytes of Python's: they must live until they are sent, and not longer.
type Shared = Rc<[u8]>;

#[derive(Default)]
struct Model {
    unsent: Vec<u8>,
    /// Sent since the beginning.
    sent: usize,
    /// References that the buffer took, and where they end in the stream.
    shared: VecDeque<(usize, Shared)>,
    letters: Letters,
}

impl Model {
    fn end(&self) -> usize {
        self.sent + self.unsent.len()
    }

    fn took(&mut self, bytes: &[u8], reference: Option<Shared>) {
        self.unsent.extend(bytes);
        let is_kept = reference.filter(|reference| Rc::strong_count(reference) > 1);
        self.shared
            .extend(is_kept.map(|reference| (self.end(), reference)));
    }

    fn undo(&mut self, length: usize) {
        self.unsent.truncate(length);
        let end = self.end();
        let kept = self.shared.partition_point(|(until, _)| *until <= end);
        for (_, reference) in self.shared.drain(kept..) {
            assert_eq!(
                Rc::strong_count(&reference),
                1,
                "kept after it was taken back"
            );
        }
    }

    /// The reference that the buffer hands out is the last one of those that it lets go of.
    fn advance(&mut self, count: usize, over: Option<Shared>) {
        self.unsent.drain(..count);
        self.sent += count;
        let over_now = self
            .shared
            .partition_point(|(until, _)| *until <= self.sent);
        let mut let_go: Vec<_> = self
            .shared
            .drain(..over_now)
            .map(|(_, reference)| reference)
            .collect();
        let last = let_go.pop();
        assert!(
            let_go.iter().all(|one| Rc::strong_count(one) == 1),
            "kept after it was sent"
        );
        match (last, over) {
            (None, None) => {}
            (Some(last), Some(over)) => {
                assert!(Rc::ptr_eq(&last, &over), "another reference");
                assert_eq!(Rc::strong_count(&last), 2, "kept after it was sent");
            }
            (last, over) => panic!(
                "{} was to be let go of, not {}",
                last.is_some(),
                over.is_some()
            ),
        }
    }
}

pub(crate) fn fuzz(mut input: Input<'_>) {
    let mut buffer = WriteBuffer::<Shared>::new();
    let mut model = Model::default();
    let mut mark: Option<(Mark, usize)> = None;
    while let Some(step) = input.step() {
        match step % 10 {
            0..=5 => push(&mut buffer, &mut model, &mut input, step % 10),
            6 => mark = Some((buffer.mark(), model.unsent.len())),
            7 => {
                if let Some((mark, length)) = mark.take() {
                    buffer.undo(&mark);
                    model.undo(length);
                }
            }
            8 if step < 250 => {
                let count = input.size(17).min(model.unsent.len());
                let over = buffer.advance(count);
                model.advance(count, over);
                mark = None;
            }
            8 => {
                buffer.clear();
                model.undo(0);
                mark = None;
            }
            _ => look(&buffer, &model, input.below(5)),
        }
        assert_eq!(buffer.len(), model.unsent.len());
        assert_eq!(buffer.is_empty(), model.unsent.is_empty());
        assert!(!buffer.is_inherited());
        if model.unsent.len() > 1 << 18 {
            break;
        }
    }
    look(&buffer, &model, 4096);
    let length = model.unsent.len();
    let over = buffer.advance(length);
    model.advance(length, over);
    assert!(model.shared.is_empty() && buffer.is_empty());
}

fn push(buffer: &mut WriteBuffer<Shared>, model: &mut Model, input: &mut Input<'_>, how: u8) {
    let bytes = model.letters.next(input.size(16));
    let reference: Option<Shared> = (how == 0 || how == 5).then(|| bytes.as_slice().into());
    let pushed = match (&reference, how) {
        (Some(reference), _) => buffer.push(Rc::clone(reference)),
        (None, 1 | 4) => buffer.push_copy(&bytes),
        (None, 2) => buffer.push_owned(bytes.clone()),
        (None, _) => buffer.push_into(Vec::with_capacity(input.size(12)), &bytes),
    };
    pushed.expect("there is memory");
    model.took(&bytes, reference);
}

/// Looks at the front of the buffer through so many slices.
fn look(buffer: &WriteBuffer<Shared>, model: &Model, most: usize) {
    let mut slices = vec![IoSlice::new(&[]); most];
    let count = buffer.fill(&mut slices);
    let seen: Vec<&[u8]> = slices[..count].iter().map(|slice| &**slice).collect();
    let seen = seen.concat();
    assert!(
        slices[..count].iter().all(|slice| !slice.is_empty()),
        "an empty slice"
    );
    assert!(model.unsent.starts_with(&seen), "other bytes");
    assert!(
        count == most || seen.len() == model.unsent.len(),
        "too few slices"
    );
    if let Some(single) = buffer.single() {
        assert!(model.unsent == single, "other bytes in one chunk");
    }
    let chunks = buffer.fill(&mut [IoSlice::new(&[]); 2]);
    assert_eq!(buffer.single().is_some(), chunks == 1);
}
