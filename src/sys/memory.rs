//! The allocator's threshold for large blocks.

use std::sync::Once;

/// Makes large allocations cheap: a new 256 KiB read buffer must come from the heap, not from `mmap`.
///
/// glibc uses `mmap` for blocks over 128 KiB, and each of them then costs its page faults again: 111 us per request
/// instead of 50 in a real server. When one such block is freed, glibc raises its threshold to the size of that
/// block; this function triggers that once per process.
pub(crate) fn raise_mmap_threshold() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| drop(std::hint::black_box(vec![1_u8; 1 << 20])));
}
