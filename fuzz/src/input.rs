//! A program, read from bytes.

/// The bytes that were not read.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next step; `None` at the end of the program.
    pub(crate) fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Zero after the end, as all numbers.
    pub(crate) fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub(crate) fn number<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// The next `most` bytes, or what is left.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Mostly small, or near a power of two that is at most `1 << most`.
    pub(crate) fn size(&mut self, most: u32) -> usize {
        let byte = self.byte();
        if byte < 128 {
            return usize::from(byte);
        }
        let power = 1 << (u32::from(byte & 127) / 3 % (most + 1));
        power + usize::from(byte & 127) % 3 - 1
    }
}

/// Bytes that tell from their neighbours, so that none is lost, doubled or moved unseen.
#[derive(Default)]
pub(crate) struct Letters(usize);

/// A prime, so that no chunk's size is a multiple of it.
const LETTERS: usize = 251;

static PATTERN: [u8; LETTERS + MOST] = {
    let mut pattern = [0; LETTERS + MOST];
    let mut index = 0;
    while index < pattern.len() {
        pattern[index] = (index % LETTERS) as u8;
        index += 1;
    }
    pattern
};

/// What [`Input::size`] returns at most for 17.
const MOST: usize = (1 << 17) + 1;

impl Letters {
    pub(crate) fn next(&mut self, size: usize) -> Vec<u8> {
        let start = self.0;
        self.0 = (start + size) % LETTERS;
        PATTERN[start..start + size].to_vec()
    }
}
