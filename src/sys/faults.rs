//! A global allocator that refuses what the code can do without: only with the feature `faults`, for `tests/faults`.
//!
//! A request counts if `try_reserve`, or one of its kind, has made it. All others are answered: Rust ends the process
//! without them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr;
use std::slice;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// The number of the first request that fails, from 1; 0 if none is counted.
static FIRST: AtomicUsize = AtomicUsize::new(0);
/// The number of the last one.
static LAST: AtomicUsize = AtomicUsize::new(0);
/// Requests since `yamanote_faults_arm`.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is deciding, which allocates.
    static DECIDES: Cell<bool> = const { Cell::new(false) };
}

/// Counts requests from now on, and makes those with the numbers `first` to `last` fail.
#[unsafe(no_mangle)]
extern "C" fn yamanote_faults_arm(first: usize, last: usize) {
    if KNOWN.load(Relaxed).is_null() {
        KNOWN.store(shared(), Relaxed);
    }
    COUNT.store(0, Relaxed);
    LAST.store(last, Relaxed);
    FIRST.store(first, Release); // What is set before it is seen by those who count.
}

/// Answers all requests from now on; returns how many were counted.
#[unsafe(no_mangle)]
extern "C" fn yamanote_faults_disarm() -> usize {
    FIRST.store(0, Relaxed);
    COUNT.load(Relaxed)
}

struct Failing;

// SAFETY: the system's allocator, but for requests that get no block, as any allocator may answer.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return ptr::null_mut();
        }
        // SAFETY: the caller answers for the conditions, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return ptr::null_mut();
        }
        // SAFETY: the caller answers for the conditions, which are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails() {
            return ptr::null_mut();
        }
        // SAFETY: the caller answers for the conditions, which are the same; all blocks are the system's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller answers for the conditions, which are the same; all blocks are the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Whether the current request is one that fails.
fn fails() -> bool {
    let first = FIRST.load(Acquire);
    if first == 0 || DECIDES.replace(true) {
        return false;
    }
    let number = if can_fail() {
        COUNT.fetch_add(1, Relaxed) + 1
    } else {
        0
    };
    DECIDES.set(false);
    (first..=LAST.load(Relaxed)).contains(&number)
}

const FRAMES: u8 = 24;
const PLACES: usize = 1 << 14;

/// Numbers of known chains; the lowest bit is the answer. A chain has the first free place from that of its number.
///
/// Memory that forked children share: what one has looked up, the next ones know.
static KNOWN: AtomicPtr<AtomicUsize> = AtomicPtr::new(ptr::null_mut());

/// Zeroes for `KNOWN`.
fn shared() -> *mut AtomicUsize {
    let (size, protection) = (
        PLACES * size_of::<AtomicUsize>(),
        libc::PROT_READ | libc::PROT_WRITE,
    );
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping of its own, where the kernel likes.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED, "no memory for a test's table");
    start.cast()
}

/// Whether the code that asks takes "no" for an answer.
///
/// Names of functions are looked up only once for each chain of calls: it takes long.
fn can_fail() -> bool {
    let chain = chain() & !1;
    // SAFETY: set before any request counts, to a mapping of this size that is never unmapped; zeroes are atomics.
    let known = unsafe { slice::from_raw_parts(KNOWN.load(Relaxed), PLACES) };
    for step in 0..PLACES {
        let place = &known[chain.wrapping_add(step) % PLACES];
        let known = place.load(Relaxed);
        if known & !1 == chain {
            return known & 1 == 1;
        }
        if known == 0 {
            let names = Backtrace::force_capture().to_string();
            // `reserve` is made of the `try_reserve` of a part.
            let answer = (names.lines())
                .any(|name| name.contains("::try_reserve") && !name.contains("raw_vec::"));
            place.store(chain | usize::from(answer), Relaxed);
            return answer;
        }
    }
    false
}

/// A number that differs, as good as always, between chains of calls.
fn chain() -> usize {
    let mut frames = [ptr::null_mut(); FRAMES as usize];
    // SAFETY: the array has this many places, which the call fills from the start.
    unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES.into()) };
    let mut hasher = DefaultHasher::new();
    frames.map(<*mut libc::c_void>::addr).hash(&mut hasher);
    usize::try_from(hasher.finish() >> 1).unwrap_or(1)
}
