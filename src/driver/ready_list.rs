//! What the reactor found ready, on its way to the turn.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::edge;

/// The slots woken since the turn last looked: a stack that any thread may push to and the turn empties.
pub(crate) struct ReadyList {
    /// Each entry owns one reference to its slot. Release on push and Acquire on take hand the slot's `next` over.
    head: AtomicPtr<Slot>,
    /// A box that is replaced by `renew`, and freed by the drop.
    turn: AtomicPtr<Mutex<Option<Waker>>>,
    /// There is a waker: written under the lock, read by the loop's thread without it.
    has_turn: AtomicBool,
    /// Nobody will take the slots any more. With the push a pair in Dekker's manner: each side writes its
    /// own, then looks at the other's, so an entry that comes late is taken by one of them.
    closed: AtomicBool,
    /// The reactor's descriptors were closed behind its back: their numbers may be other files'. Relaxed: for the
    /// loop's own thread.
    lost: AtomicBool,
}

thread_local! {
    /// The list whose turn runs on this thread: it looks there before it waits, so nobody need wake it.
    static TURNING: Cell<*const ReadyList> = const { Cell::new(ptr::null()) };
}

/// One registered descriptor, as its wakers see it.
pub(crate) struct Slot {
    list: Arc<ReadyList>,
    /// `READ` and `WRITE` that fired, and `QUEUED` from the first wake until `take`.
    bits: AtomicU8,
    /// The slot below in the stack; written by whoever set `QUEUED`, until the stack is taken.
    next: AtomicPtr<Slot>,
    /// Whose it is, in the scheduler's table of sources.
    key: AtomicU64,
}

/// The descriptor may be read.
pub(crate) const READ: u8 = 1;
/// The descriptor may be written.
pub(crate) const WRITE: u8 = 2;
const QUEUED: u8 = 4;

impl ReadyList {
    /// The waker of the turn: the same one for all of a runtime's life.
    pub(crate) fn set_turn(&self, turn: &Waker) {
        if !self.has_turn.load(Ordering::Relaxed) {
            *self.lock() = Some(turn.clone());
            self.has_turn.store(true, Ordering::Relaxed);
        }
    }

    /// Lets go of the waker, and with it of the runtime's descriptors: the loop is closed.
    pub(crate) fn forget_turn(&self) {
        self.has_turn.store(false, Ordering::Relaxed);
        let turn = self.lock().take();
        drop(turn);
    }

    /// Says that a turn runs on this thread, or ran.
    pub(crate) fn set_turning(&self, turning: bool) {
        let list: *const Self = if turning { self } else { ptr::null() };
        TURNING.set(list);
    }

    /// The loop is closed: what is woken from now on is let go of.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drain(drop);
    }

    /// Wakes the loop's thread out of its wait, or keeps it from starting one. From any thread.
    pub(crate) fn wake_turn(&self) {
        if let Some(turn) = &*self.lock() {
            // Ignored, as asyncio does: nothing can be written there any more, which the loop's next look will tell.
            let _ = edge::guarded(|| turn.wake_by_ref());
        }
    }

    /// Notes whether the reactor has failed because its descriptors are not its own any more.
    pub(super) fn set_lost(&self, lost: bool) {
        self.lost.store(lost, Ordering::Relaxed);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // SAFETY: made by `Box::into_raw`, and freed by the drop alone, which has no borrower.
        let turn = unsafe { &*self.turn.load(Ordering::Acquire) };
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a forked child: forgets the waker, which would wake the parent, and what the parent's
    /// reactor found. Nothing is freed, for a thread that is gone may have been at it, lock in hand.
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
        // The last pushed is on top: turn the stack over.
        let mut bottom = ptr::null_mut();
        while !top.is_null() {
            // SAFETY: an entry owns a reference to its slot, so it is alive.
            let slot = unsafe { &*top };
            // Loads and stores, not a locked swap: the stack was taken, so nobody else writes.
            let below = slot.next.load(Ordering::Relaxed);
            slot.next.store(bottom, Ordering::Relaxed);
            bottom = mem::replace(&mut top, below);
        }
        while !bottom.is_null() {
            // SAFETY: made by `Arc::into_raw` in `push`, and taken off the list, so owned here alone.
            let slot = unsafe { Arc::from_raw(bottom.cast_const()) };
            bottom = slot.next.load(Ordering::Relaxed);
            each(slot);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Queues a slot on its list; the list, if it was empty.
    fn push(slot: Arc<Slot>) -> Option<Arc<Self>> {
        let entry = Arc::into_raw(slot).cast_mut();
        // SAFETY: the reference made above keeps the slot, and it its list, until the slot is on the list;
        // from then on both belong to whoever takes it.
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
        // SAFETY: made by `Box::into_raw`, and nobody else has the list any more.
        drop(unsafe { Box::from_raw(*self.turn.get_mut()) });
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

    pub(crate) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    pub(crate) fn set_key(&self, key: u64) {
        self.key.store(key, Ordering::Relaxed);
    }

    /// What has fired since the last `take`; the next wake queues the slot anew.
    pub(crate) fn take(&self) -> u8 {
        self.bits.swap(0, Ordering::AcqRel) & !QUEUED
    }

    /// Queues the slot as if the reactor had found `bits` ready. On the loop's thread, which looks at the list
    /// before it waits.
    pub(crate) fn fire(self: &Arc<Self>, bits: u8) {
        if self.mark(bits) {
            ReadyList::push(Arc::clone(self));
        }
    }

    /// Queues the slot and ends the wait: what a waker does.
    pub(super) fn wake(self: Arc<Self>, bits: u8) {
        if self.mark(bits)
            && let Some(list) = ReadyList::push(self)
            && !ptr::eq(TURNING.get(), Arc::as_ptr(&list))
        {
            fence(Ordering::SeqCst);
            if list.closed.load(Ordering::SeqCst) {
                list.drain(drop);
            } else {
                list.wake_turn();
            }
        }
    }

    /// Whether the reactor that the descriptor was on has lost its own.
    pub(super) fn is_lost(&self) -> bool {
        self.list.is_lost()
    }

    /// Queues a slot that was drained and not taken once more.
    pub(crate) fn queue(self: Arc<Self>) {
        ReadyList::push(self);
    }

    /// Notes what fired; whether the slot must now be queued.
    fn mark(&self, bits: u8) -> bool {
        self.bits.fetch_or(bits | QUEUED, Ordering::AcqRel) & QUEUED == 0
    }

    /// A waker that fires `READ`.
    pub(super) fn read_waker(self: Arc<Self>) -> Waker {
        waker(self, &READ_WAKER)
    }

    /// A waker that fires `WRITE`.
    pub(super) fn write_waker(self: Arc<Self>) -> Waker {
        waker(self, &WRITE_WAKER)
    }
}

fn waker(slot: Arc<Slot>, table: &'static RawWakerVTable) -> Waker {
    // SAFETY: the tables below treat the pointer as one reference to a slot, as it is; a slot's
    // methods may be called from any thread.
    unsafe { Waker::new(Arc::into_raw(slot).cast(), table) }
}

static READ_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone::<READ>, wake::<READ>, wake_by_ref::<READ>, release);
static WRITE_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone::<WRITE>, wake::<WRITE>, wake_by_ref::<WRITE>, release);

unsafe fn clone<const BIT: u8>(slot: *const ()) -> RawWaker {
    // SAFETY: a waker's pointer is a live reference made by `Arc::into_raw`; this adds one for the clone.
    unsafe { Arc::increment_strong_count(slot.cast::<Slot>()) };
    RawWaker::new(
        slot,
        if BIT == READ {
            &READ_WAKER
        } else {
            &WRITE_WAKER
        },
    )
}

unsafe fn wake<const BIT: u8>(slot: *const ()) {
    // SAFETY: waking by value takes over the waker's own reference.
    unsafe { Arc::from_raw(slot.cast::<Slot>()) }.wake(BIT);
}

unsafe fn wake_by_ref<const BIT: u8>(slot: *const ()) {
    // SAFETY: borrows the waker's own reference: `ManuallyDrop` leaves it in place.
    let slot = mem::ManuallyDrop::new(unsafe { Arc::from_raw(slot.cast::<Slot>()) });
    Arc::clone(&slot).wake(BIT);
}

unsafe fn release(slot: *const ()) {
    // SAFETY: dropping a waker ends its own reference.
    drop(unsafe { Arc::from_raw(slot.cast::<Slot>()) });
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
    const WAKES: u32 = 2_000;
    /// For what is bound to happen.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Stands for tokio's waker: ends the wait of a thread.
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
        Arc::clone(&slots[0]).write_waker().wake();
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

    /// Each thread has a slot of its own and shares one with the others. What was written before a wake is seen
    /// after it, and the loop's thread, which waits whenever the list is empty, is never left waiting.
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
                            _ => Arc::clone(own).write_waker().wake(),
                        }
                        Arc::clone(common).wake(WRITE);
                    }
                });
            }
            while seen != [WAKES; THREADS] {
                if list.is_empty() {
                    let since = Instant::now();
                    thread::park_timeout(PATIENCE);
                    assert!(since.elapsed() < PATIENCE, "nobody woke the loop: {seen:?}");
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

    /// By the list's orderings alone: the slots' makers and their taker share nothing else. `ThreadSanitizer` sees
    /// where one is too weak; a machine whose own are strong does no harm then.
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
        for _ in 0..50 {
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
