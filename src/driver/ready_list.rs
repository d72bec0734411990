//! Passes what the reactor found ready to the turn.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use super::turn_waker::TurnWaker;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};
use crate::sync::{Mutex, MutexGuard, thread_local};

/// The slots woken since the last drain: a stack that any thread may push to, and the turn empties.
pub(crate) struct ReadyList {
    /// Each entry owns one reference to its slot. Release on push and Acquire on drain publish the slot's `next`.
    head: AtomicPtr<Slot>,
    /// A box; `renew` replaces it, and the drop frees it.
    turn: AtomicPtr<Mutex<Option<TurnWaker>>>,
    /// Whether there is a waker. Written under the lock; the loop's thread reads it without the lock.
    has_turn: AtomicBool,
    /// Set once no turn will drain the list any more. With the push, Dekker's algorithm: each side stores its own
    /// flag or entry, then loads the other's, so one of them takes a late entry.
    closed: AtomicBool,
    /// Whether a program closed the reactor's descriptors, so that their numbers may belong to other files. Relaxed:
    /// only the loop's own thread uses it.
    lost: AtomicBool,
}

thread_local! {
    /// The list whose turn runs on this thread. The turn checks it before it waits, so a push from this thread sends
    /// no wake.
    static TURNING: Cell<*const ReadyList> = const { Cell::new(ptr::null()) };
}

/// One registered descriptor, as its wakers see it.
pub(crate) struct Slot {
    list: Arc<ReadyList>,
    /// `READ` and `WRITE` for what fired, and `QUEUED` from the first wake until `take`.
    bits: AtomicU8,
    /// The slot below in the stack. The thread that sets `QUEUED` writes it, until the stack is taken.
    next: AtomicPtr<Slot>,
    /// Identifies the owner in the scheduler's table of sources.
    key: AtomicU64,
}

/// The descriptor may be readable.
pub(crate) const READ: u8 = 1;
/// The descriptor may be writable.
pub(crate) const WRITE: u8 = 2;
const QUEUED: u8 = 4;

impl ReadyList {
    /// Sets the waker of the turn, which is the same one for the life of a runtime.
    pub(crate) fn set_turn(&self, turn: &Waker) {
        if !self.has_turn.load(Ordering::Relaxed) {
            *self.lock() = Some(TurnWaker::new(turn));
            self.has_turn.store(true, Ordering::Relaxed);
        }
    }

    /// Drops the waker, which would keep the runtime's descriptors open after the loop is closed.
    pub(crate) fn forget_turn(&self) {
        self.has_turn.store(false, Ordering::Relaxed);
        let turn = self.lock().take();
        drop(turn);
    }

    /// Records whether a turn runs on this thread.
    pub(crate) fn set_turning(&self, turning: bool) {
        let list: *const Self = if turning { self } else { ptr::null() };
        TURNING.with(|running| running.set(list));
    }

    /// Closes the list with its loop: entries pushed from now on are dropped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drain(drop);
    }

    /// Ends the wait of the loop's thread, or keeps it from starting one. May be called from any thread. Returns
    /// `false` if the wake was lost.
    pub(crate) fn wake_turn(&self) -> bool {
        self.lock().as_mut().is_none_or(TurnWaker::wake)
    }

    /// Records whether the reactor failed because its descriptors are not its own any more.
    pub(super) fn set_lost(&self, lost: bool) {
        self.lost.store(lost, Ordering::Relaxed);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<TurnWaker>> {
        // SAFETY: `Box::into_raw` made it, and only the drop frees it, when there are no borrowers.
        let turn = unsafe { &*self.turn.load(Ordering::Acquire) };
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a forked child: forgets the waker, which would wake the parent, and what the parent's reactor found.
    /// Nothing is freed, as another of the parent's threads may have held a lock during the fork.
    pub(crate) fn renew(&self) {
        self.has_turn.store(false, Ordering::Relaxed);
        self.closed.store(false, Ordering::Relaxed);
        self.lost.store(false, Ordering::Relaxed);
        self.turn
            .store(Box::into_raw(Box::default()), Ordering::Release);
        self.drain(|slot| {
            slot.take();
        });
    }

    /// Takes every queued slot, in the order of their wakes.
    pub(crate) fn drain(&self, mut each: impl FnMut(Arc<Slot>)) {
        let mut top = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        // The last one pushed is on top, so reverse the stack.
        let mut bottom = ptr::null_mut();
        while !top.is_null() {
            // SAFETY: an entry owns a reference to its slot, so the slot is alive.
            let slot = unsafe { &*top };
            // Plain loads and stores instead of a locked swap: the stack was taken, so no other thread writes.
            let below = slot.next.load(Ordering::Relaxed);
            slot.next.store(bottom, Ordering::Relaxed);
            bottom = mem::replace(&mut top, below);
        }
        while !bottom.is_null() {
            // SAFETY: `Arc::into_raw` in `push` made it, and it was taken off the list, so this is the only owner of
            // the reference.
            let slot = unsafe { Arc::from_raw(bottom.cast_const()) };
            bottom = slot.next.load(Ordering::Relaxed);
            each(slot);
        }
    }

    /// Whether no slot is queued. A slot that another thread is pushing may not count yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Pushes a slot on its list. Returns the list if it was empty.
    fn push(slot: Arc<Slot>) -> Option<Arc<Self>> {
        let entry = Arc::into_raw(slot).cast_mut();
        // SAFETY: the reference made above keeps the slot alive, and the slot its list, until the slot is on the
        // list; from then on the thread that takes it owns both.
        let slot = unsafe { &*entry };
        let mut woken = None;
        let mut head = slot.list.head.load(Ordering::Relaxed);
        loop {
            if head.is_null() && woken.is_none() {
                woken = Some(Arc::clone(&slot.list));
            }
            slot.next.store(head, Ordering::Relaxed);
            let (pushed, seen) = (Ordering::Release, Ordering::Relaxed);
            let exchange = slot
                .list
                .head
                .compare_exchange_weak(head, entry, pushed, seen);
            match exchange {
                Ok(_) => break,
                Err(actual) => head = actual,
            }
        }
        woken.filter(|_| head.is_null())
    }
}

impl Default for ReadyList {
    fn default() -> Self {
        Self {
            head: AtomicPtr::default(),
            turn: AtomicPtr::new(Box::into_raw(Box::default())),
            has_turn: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }
}

impl Drop for ReadyList {
    fn drop(&mut self) {
        self.drain(drop);
        // SAFETY: `Box::into_raw` made it, and the list has no other owner any more.
        drop(unsafe { Box::from_raw(self.turn.load(Ordering::Relaxed)) });
    }
}

impl Slot {
    pub(crate) fn new(list: Arc<ReadyList>, key: u64) -> Arc<Self> {
        Arc::new(Self {
            list,
            bits: AtomicU8::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            key: AtomicU64::new(key),
        })
    }

    /// The key that `new` or `set_key` set last.
    pub(crate) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    /// Replaces the key; a slot that is queued already then carries the new one.
    pub(crate) fn set_key(&self, key: u64) {
        self.key.store(key, Ordering::Relaxed);
    }

    /// Returns what fired since the last `take`; the next wake queues the slot again.
    pub(crate) fn take(&self) -> u8 {
        self.bits.swap(0, Ordering::AcqRel) & !QUEUED
    }

    /// Queues the slot as if the reactor had found `bits` ready. Call it on the loop's thread only, which checks the
    /// list before it waits.
    pub(crate) fn fire(self: &Arc<Self>, bits: u8) {
        if self.mark(bits) {
            ReadyList::push(Arc::clone(self));
        }
    }

    /// Queues the slot and ends the wait, as a waker must. May be called on any thread.
    pub(crate) fn wake(self: Arc<Self>, bits: u8) {
        if self.mark(bits)
            && let Some(list) = ReadyList::push(self)
            && !ptr::eq(TURNING.with(Cell::get), Arc::as_ptr(&list))
        {
            fence(Ordering::SeqCst);
            if list.closed.load(Ordering::SeqCst) {
                list.drain(drop);
            } else {
                // A lost wake is made up for by the next event, as in asyncio.
                list.wake_turn();
            }
        }
    }

    /// Whether the slot's reactor has lost its descriptors.
    pub(super) fn is_lost(&self) -> bool {
        self.list.is_lost()
    }

    /// Queues a slot again that was drained but not taken.
    pub(crate) fn queue(self: Arc<Self>) {
        ReadyList::push(self);
    }

    /// Records what fired. Returns whether the caller must queue the slot.
    fn mark(&self, bits: u8) -> bool {
        self.bits.fetch_or(bits | QUEUED, Ordering::AcqRel) & QUEUED == 0
    }
}

impl fmt::Debug for ReadyList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReadyList")
            .field("empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Slot")
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    use super::*;

    const THREADS: usize = 3;
    /// Miri takes a thousand times as long for each.
    const WAKES: u32 = if cfg!(miri) { 30 } else { 2_000 };
    const CLOSED: usize = if cfg!(miri) { 3 } else { 50 };
    /// How long to wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Stands in for tokio's waker: ends the wait of a thread.
    struct Bell(Thread);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn slots(list: &Arc<ReadyList>, count: u64) -> Vec<Arc<Slot>> {
        (0..count)
            .map(|key| Slot::new(Arc::clone(list), key))
            .collect()
    }

    fn drained(list: &ReadyList) -> Vec<(u64, u8)> {
        let mut keys = Vec::new();
        list.drain(|slot| keys.push((slot.key(), slot.take())));
        keys
    }

    #[test]
    fn slots_come_out_once_and_in_the_order_of_their_wakes() {
        let list = Arc::new(ReadyList::default());
        let slots = slots(&list, 3);
        slots[1].fire(READ);
        slots[0].lend_write_waker().wake_by_ref();
        slots[1].fire(WRITE);
        slots[2].fire(READ);
        assert_eq!(drained(&list), [(1, READ | WRITE), (0, WRITE), (2, READ)]);
        assert!(list.is_empty());
        slots[0].fire(READ);
        assert_eq!(drained(&list), [(0, READ)]);
    }

    #[test]
    fn wakers_and_entries_keep_their_slot_alive_and_no_longer() {
        let list = Arc::new(ReadyList::default());
        let slot = Slot::new(Arc::clone(&list), 7);
        let waker = Arc::clone(&slot).read_waker();
        let clone = waker.clone();
        assert!(waker.will_wake(&clone));
        clone.wake_by_ref();
        drop((waker, clone));
        assert_eq!(Arc::strong_count(&slot), 2);
        drop(drained(&list));
        assert_eq!(Arc::strong_count(&slot), 1);
    }

    /// Each thread has a slot of its own and shares one with the others. A write before a wake must be visible after
    /// it, and the loop's thread, which waits whenever the list is empty, must never be left waiting.
    #[test]
    fn no_wake_of_another_thread_is_lost() {
        let list = Arc::new(ReadyList::default());
        list.set_turn(&Arc::new(Bell(thread::current())).into());
        let slots = slots(&list, THREADS as u64 + 1);
        let written: [AtomicU32; THREADS] = Default::default();
        let mut seen = [0; THREADS];
        let mut shared = 0;
        thread::scope(|scope| {
            for (own, written) in slots.iter().zip(&written) {
                let common = &slots[THREADS];
                scope.spawn(move || {
                    let waker = Arc::clone(own).read_waker();
                    for number in 1..=WAKES {
                        written.store(number, Ordering::Relaxed);
                        match number % 3 {
                            0 => waker.wake_by_ref(),
                            1 => Arc::clone(own).read_waker().wake(),
                            _ => own.lend_write_waker().wake_by_ref(),
                        }
                        Arc::clone(common).wake(WRITE);
                    }
                });
            }
            while seen != [WAKES; THREADS] {
                if list.is_empty() {
                    let since = Instant::now();
                    thread::park_timeout(PATIENCE);
                    assert!(
                        since.elapsed() < PATIENCE,
                        "the loop was not woken: {seen:?}"
                    );
                }
                list.drain(|slot| {
                    assert_ne!(slot.take(), 0);
                    match seen.get_mut(usize::try_from(slot.key()).unwrap()) {
                        Some(seen) => {
                            *seen = written[usize::try_from(slot.key()).unwrap()]
                                .load(Ordering::Relaxed);
                        }
                        None => shared += 1,
                    }
                });
            }
        });
        drop(drained(&list));
        assert!(shared > 0);
        assert!(slots.iter().all(|slot| Arc::strong_count(slot) == 1));
    }

    /// Tests the list's orderings alone: the threads that make the slots share nothing else with the one that takes
    /// them. `ThreadSanitizer` finds an ordering that is too weak, even on a machine with strong ordering.
    #[test]
    fn a_slot_made_by_another_thread_arrives_whole() {
        let list = Arc::new(ReadyList::default());
        let mut seen = 0;
        let mut sum = 0;
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for key in 1..=WAKES {
                        Slot::new(Arc::clone(&list), key.into()).wake(READ);
                    }
                });
            }
            while seen < THREADS * WAKES as usize {
                list.drain(|slot| {
                    assert_eq!(slot.take(), READ);
                    sum += slot.key();
                    seen += 1;
                });
                thread::yield_now();
            }
        });
        assert_eq!(sum, THREADS as u64 * u64::from(WAKES * (WAKES + 1) / 2));
    }

    #[test]
    fn what_wakes_while_the_list_is_closed_is_let_go_of() {
        for _ in 0..CLOSED {
            let list = Arc::new(ReadyList::default());
            list.set_turn(&Arc::new(Bell(thread::current())).into());
            let slots = slots(&list, THREADS as u64);
            thread::scope(|scope| {
                for slot in &slots {
                    scope.spawn(move || {
                        for _ in 0..50 {
                            Arc::clone(slot).wake(READ);
                        }
                    });
                }
                list.forget_turn();
                list.close();
            });
            assert!(list.is_empty());
            assert!(slots.iter().all(|slot| Arc::strong_count(slot) == 1));
        }
    }
}
