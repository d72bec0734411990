//! The allocator's threshold for large blocks, and a search in memory.

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

/// The index of the first `needle` in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (start, length) = (haystack.as_ptr(), haystack.len());
    // SAFETY: both are slices, passed with their lengths; the call only reads them.
    let found = unsafe { libc::memmem(start.cast(), length, needle.as_ptr().cast(), needle.len()) };
    (!found.is_null()).then(|| found.addr() - start.addr())
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_of_two_is_found() {
        assert_eq!(find(b"a\nb\n", b"\n"), Some(1));
    }

    #[test]
    fn a_part_of_the_needle_is_not_enough() {
        assert_eq!(find(b"ab\r", b"\r\n"), None);
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(find(b"", b"\n"), None);
    }
}
