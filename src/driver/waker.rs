//! A slot's waker for those who share no Rust with us: four C functions over one reference.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use yamanote_client::abi;

use super::ready_list::{READ, Slot};
use crate::ffi::capsule::Wakers;
use crate::ffi::pollable::LentWaker;

/// The functions; each fires `READ`.
pub(crate) const WAKERS: Wakers = Wakers {
    clone,
    wake: wake_raw,
    wake_by_ref,
    drop: release,
};

/// The slot's waker, lent.
pub(crate) fn lend(slot: &Arc<Slot>) -> LentWaker<'_> {
    // SAFETY: the functions above take a reference to a slot as a pointer; the borrow keeps it alive.
    unsafe { LentWaker::new(Arc::as_ptr(slot).cast()) }
}

/// Fires `READ`, and has the loop look: from any thread.
pub(crate) fn wake(slot: &Arc<Slot>) {
    Arc::clone(slot).wake(READ);
}

unsafe extern "C" fn clone(waker: *const abi::Waker) -> *const abi::Waker {
    // SAFETY: a live reference, lent or cloned; this adds one.
    unsafe { Arc::increment_strong_count(waker.cast::<Slot>()) };
    waker
}

unsafe extern "C" fn wake_raw(waker: *const abi::Waker) {
    // SAFETY: a cloned reference, given up.
    unsafe { Arc::from_raw(waker.cast::<Slot>()) }.wake(READ);
}

unsafe extern "C" fn wake_by_ref(waker: *const abi::Waker) {
    // SAFETY: a live reference; `ManuallyDrop` leaves it in place.
    let slot = ManuallyDrop::new(unsafe { Arc::from_raw(waker.cast::<Slot>()) });
    Arc::clone(&slot).wake(READ);
}

unsafe extern "C" fn release(waker: *const abi::Waker) {
    // SAFETY: a cloned reference, given up.
    drop(unsafe { Arc::from_raw(waker.cast::<Slot>()) });
}
