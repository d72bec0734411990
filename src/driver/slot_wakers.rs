//! The wakers of a slot: each fires one of its bits and queues it.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::ready_list::{READ, Slot, WRITE};

/// Wakers take a slot to any thread.
const _: () = {
    const fn is_for_all_threads<T: Send + Sync>() {}
    is_for_all_threads::<Slot>();
};

impl Slot {
    /// A waker that fires `READ`.
    pub(super) fn read_waker(self: Arc<Self>) -> Waker {
        waker(self, &READ_WAKER)
    }

    /// A waker that fires `READ`, without a reference of its own.
    pub(super) fn lend_read_waker(self: &Arc<Self>) -> BorrowedWaker<'_> {
        lend(self, &READ_WAKER)
    }

    /// A waker that fires `WRITE`, without a reference of its own.
    pub(super) fn lend_write_waker(self: &Arc<Self>) -> BorrowedWaker<'_> {
        lend(self, &WRITE_WAKER)
    }
}

/// A waker of a borrowed slot; its clones have references of their own.
pub(super) struct BorrowedWaker<'a> {
    waker: ManuallyDrop<Waker>,
    slot: PhantomData<&'a Arc<Slot>>,
}

impl Deref for BorrowedWaker<'_> {
    type Target = Waker;

    #[inline]
    fn deref(&self) -> &Waker {
        &self.waker
    }
}

#[inline]
fn lend<'a>(slot: &'a Arc<Slot>, table: &'static RawWakerVTable) -> BorrowedWaker<'a> {
    // SAFETY: the functions in both tables treat the pointer as one reference to a slot. It is the borrowed one, which
    // lives as long as the result; that never drops the waker, and only lends it. A slot's methods may be called from
    // any thread.
    let waker = unsafe { Waker::new(Arc::as_ptr(slot).cast(), table) };
    BorrowedWaker {
        waker: ManuallyDrop::new(waker),
        slot: PhantomData,
    }
}

fn waker(slot: Arc<Slot>, table: &'static RawWakerVTable) -> Waker {
    // SAFETY: the functions in both tables treat the pointer as one reference to a slot, which it is; a slot's
    // methods may be called from any thread.
    unsafe { Waker::new(Arc::into_raw(slot).cast(), table) }
}

static READ_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone::<READ>, wake::<READ>, wake_by_ref::<READ>, release);
static WRITE_WAKER: RawWakerVTable =
    RawWakerVTable::new(clone::<WRITE>, wake::<WRITE>, wake_by_ref::<WRITE>, release);

unsafe fn clone<const BIT: u8>(slot: *const ()) -> RawWaker {
    // SAFETY: a waker's pointer comes from the `Arc` of a live slot; this adds a reference for the clone.
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
    // SAFETY: waking by value takes over the waker's reference, which `waker` or `clone` made; a lent waker is never
    // woken by value.
    unsafe { Arc::from_raw(slot.cast::<Slot>()) }.wake(BIT);
}

unsafe fn wake_by_ref<const BIT: u8>(slot: *const ()) {
    // SAFETY: borrows the waker's reference to a live slot; `ManuallyDrop` does not release it.
    let slot = ManuallyDrop::new(unsafe { Arc::from_raw(slot.cast::<Slot>()) });
    Arc::clone(&slot).wake(BIT);
}

unsafe fn release(slot: *const ()) {
    // SAFETY: dropping a waker releases its reference, which `waker` or `clone` made; a lent waker is never dropped.
    drop(unsafe { Arc::from_raw(slot.cast::<Slot>()) });
}
