//! A slot's waker for extensions that share no Rust with this crate: four C functions over one reference.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use yamanote_client::abi;

use super::ready_list::{READ, Slot};
use crate::ffi::capsule::Wakers;
use crate::ffi::pollable::LentWaker;

/// The waker's functions; each wake fires `READ`.
pub(crate) const WAKERS: Wakers = Wakers {
    clone,
    wake: wake_raw,
    wake_by_ref,
    drop: release,
};

/// Lends the slot's waker.
pub(crate) fn lend(slot: &Arc<Slot>) -> LentWaker<'_> {
    // SAFETY: the functions above take a pointer to a slot as their reference, and the borrow keeps the slot alive.
    unsafe { LentWaker::new(Arc::as_ptr(slot).cast()) }
}

/// Fires `READ` and wakes the loop. May be called from any thread.
pub(crate) fn wake(slot: &Arc<Slot>) {
    Arc::clone(slot).wake(READ);
}

unsafe extern "C" fn clone(waker: *const abi::Waker) -> *const abi::Waker {
    // SAFETY: the pointer is a live reference, lent or cloned; this adds one.
    unsafe { Arc::increment_strong_count(waker.cast::<Slot>()) };
    waker
}

unsafe extern "C" fn wake_raw(waker: *const abi::Waker) {
    // SAFETY: the caller gives up a cloned reference, which `clone` made.
    unsafe { Arc::from_raw(waker.cast::<Slot>()) }.wake(READ);
}

unsafe extern "C" fn wake_by_ref(waker: *const abi::Waker) {
    // SAFETY: the pointer is a live reference; `ManuallyDrop` does not release it.
    let slot = ManuallyDrop::new(unsafe { Arc::from_raw(waker.cast::<Slot>()) });
    Arc::clone(&slot).wake(READ);
}

unsafe extern "C" fn release(waker: *const abi::Waker) {
    // SAFETY: the caller gives up a cloned reference, which `clone` made.
    drop(unsafe { Arc::from_raw(waker.cast::<Slot>()) });
}
