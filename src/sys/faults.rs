//! A global allocator that refuses what the code can do without: only with the feature `faults`, for `tests/faults`.
//!
//! A request counts if `try_reserve`, or one of its kind, has made it. All others are answered: Rust ends the process
//! without them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};
use std::{ptr, slice};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// The number of the first request that fails, from 1; 0 if none is counted.
static FIRST: AtomicUsize = AtomicUsize::new(0);
/// The number of the last one.
static LAST: AtomicUsize = AtomicUsize::new(0);
/// Requests since `yamanote_faults_arm`.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The addresses of the functions whose requests count, and their number.
static PLACES: AtomicPtr<Range<usize>> = AtomicPtr::new(ptr::null_mut());
static PLACES_LENGTH: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread looks at its stack, for which the C library allocates the first time.
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

/// Names the functions whose requests count, by their addresses, which stay where they are.
#[unsafe(no_mangle)]
extern "C" fn yamanote_faults_places(places: *mut Range<usize>, length: usize) {
    PLACES_LENGTH.store(length, Relaxed);
    PLACES.store(places, Relaxed);
}

/// Counts requests from now on, and makes those with the numbers `first` to `last` fail.
#[unsafe(no_mangle)]
extern "C" fn yamanote_faults_arm(first: usize, last: usize) {
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
    if first == 0 || LOOKS.replace(true) {
        return false;
    }
    let counts = counts();
    LOOKS.set(false);
    if !counts {
        return false;
    }
    let number = COUNT.fetch_add(1, Relaxed) + 1;
    (first..=LAST.load(Relaxed)).contains(&number)
}

const FRAMES: u8 = 16;

/// Whether one of the functions that wait for the block takes "no" for an answer.
fn counts() -> bool {
    let mut frames = [ptr::null_mut(); FRAMES as usize];
    // SAFETY: the array has this many places, which the call fills from the start.
    unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES.into()) };
    let places = PLACES.load(Relaxed);
    if places.is_null() {
        return false;
    }
    // SAFETY: `yamanote_faults_places` was given the start of so many ranges, which stay there for ever; the length was
    // stored before it, and both before `FIRST`, which this thread has acquired.
    let places = unsafe { slice::from_raw_parts(places, PLACES_LENGTH.load(Relaxed)) };
    frames
        .iter()
        .any(|frame| places.iter().any(|place| place.contains(&frame.addr())))
}
