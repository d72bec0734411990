//! The allocator's threshold for large blocks.

use std::sync::Once;

/// Makes large blocks cheap: a fresh 256 KiB read buffer must come from the heap, not from `mmap`.
///
/// glibc hands blocks over 128 KiB to `mmap`, and each one then costs its page faults anew: 111 us a
/// request instead of 50 in a real server. Freeing one such block raises the threshold to its
/// size, by glibc's own rule; this does so once per process.
pub(crate) fn raise_mmap_threshold() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| drop(std::hint::black_box(vec![1_u8; 1 << 20])));
}
