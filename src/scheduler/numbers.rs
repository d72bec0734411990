//! Maps and sets of descriptors.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::RawFd;

/// From a descriptor to something else.
pub(super) type NumberMap<V> = HashMap<RawFd, V, BuildHasherDefault<Numbers>>;

/// A set of descriptors.
pub(super) type NumberSet = HashSet<RawFd, BuildHasherDefault<Numbers>>;

/// Descriptors are small numbers chosen by the kernel, so collisions cannot be provoked, and every event looks one
/// up: a fast hash suffices.
#[derive(Debug, Default)]
pub(super) struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_i32(i32::from(*byte));
        }
    }

    fn write_i32(&mut self, number: i32) {
        // The table takes the bucket from the low bits and the tag from the high ones.
        let mixed =
            (self.0 ^ u64::from(number.cast_unsigned())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
