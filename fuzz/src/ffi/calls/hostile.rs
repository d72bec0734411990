//! Calls that the header forbids, which must be refused, and tables that the client must not use.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::object::Value;
use pyo3::prelude::*;
use pyo3::token::detached;

use super::pollables::FUNCTIONS;
use super::world::World;
use crate::abi::{self, Api, PollableFunctions};
use crate::client::raw;
use crate::ffi::capsule;
use crate::ffi::pollable;
use crate::input::Input;

/// Null where something must be, on an attached thread or a detached one.
pub(super) fn call(world: &World, input: &mut Input<'_>) {
    let (which, is_detached) = (input.byte(), input.flag());
    let refusal = if is_detached {
        abi::WRONG_THREAD
    } else {
        abi::FOREIGN
    };
    let (found, expected) = detached(is_detached, || one(world, which, refusal));
    assert_eq!(found, expected, "call {}", which % 12);
}

/// The code of one call, and the one that the header promises. `refusal` is that of an object of another kind.
fn one(world: &World, which: u8, refusal: c_int) -> (c_int, c_int) {
    let (api, event_loop) = (world.api, world.event_loop.bind(Python::token()).as_ptr());
    let other: Py<PyAny> = Py::of(Value::Int(1));
    let other = other.bind(Python::token()).as_ptr();
    let functions: *const PollableFunctions = &raw const FUNCTIONS;
    let (mut remote, mut made) = (ptr::null(), ptr::null_mut());
    let no_loop: *const abi::Loop = ptr::null();
    // SAFETY: each call has null where the function must look for it, and otherwise what the header asks for.
    let answer = unsafe {
        match which % 12 {
            0 => (
                (api.loop_acquire)(event_loop, ptr::null_mut()),
                abi::INVALID,
            ),
            1 => ((api.loop_acquire)(other, &raw mut remote), refusal),
            2 => ((api.loop_retain)(no_loop), abi::INVALID),
            3 => ((api.wake)(no_loop), abi::INVALID),
            4 => (
                (api.submit)(no_loop, Some(never), ptr::null_mut()),
                abi::INVALID,
            ),
            5 => (
                (api.spawn)(event_loop, ptr::null(), ptr::null_mut(), 0, &raw mut made),
                abi::INVALID,
            ),
            6 => (
                (api.spawn)(event_loop, functions, ptr::null_mut(), 0, ptr::null_mut()),
                abi::INVALID,
            ),
            7 => (
                (api.spawn)(
                    event_loop,
                    functions,
                    ptr::null_mut(),
                    4 << (which / 12),
                    &raw mut made,
                ),
                abi::INVALID,
            ),
            8 => (
                (api.spawn)(other, functions, ptr::null_mut(), 1, &raw mut made),
                refusal,
            ),
            9 => ((api.cancel)(ptr::null_mut()), abi::INVALID),
            10 => ((api.cancel)(other), refusal),
            _ => {
                (api.loop_release)(no_loop);
                assert_eq!(((api.live)(), (api.clock_ns)()), (pollable::live(), 42));
                (abi::OK, abi::OK)
            }
        }
    };
    assert!(remote.is_null() && made.is_null());
    answer
}

unsafe extern "C" fn never(_data: *mut c_void, _status: c_int) {
    panic!("a call that was refused is made");
}

/// What a program may have in place of the table.
pub(super) fn table(input: &mut Input<'_>) {
    let py = Python::token();
    let object: Py<PyAny> = Py::of(Value::None);
    let version = match input.byte() {
        byte @ 0..=200 => u32::from(abi::MAJOR) << 16 | u32::from(byte),
        _ => u32::from_le_bytes(input.number()),
    };
    let own = u32::try_from(size_of::<Api>()).expect("a small table");
    let size = match input.byte() {
        byte @ 0..=200 => own + u32::from(byte) - 100,
        _ => u32::from_le_bytes(input.number()),
    };
    let is_right = version >> 16 == u32::from(abi::MAJOR) && size >= own;
    // What is to be refused is no longer than what the client may look at.
    let head = Box::new([version, size]);
    let head: *mut c_void = ptr::from_ref(&*head).cast_mut().cast();
    let (value, is_error) = match input.byte() % 8 {
        0 => (None, false),
        1 => (Some(Value::Int(7)), true),
        2 => (Some(Value::Capsule(c"yamanote.c_ap", head)), true),
        _ if is_right => (
            Some(Value::Capsule(abi::NAME, newer(version, size).cast())),
            false,
        ),
        _ => (Some(Value::Capsule(abi::NAME, head)), true),
    };
    if let Some(value) = value {
        let value: Py<PyAny> = Py::of(value);
        object
            .bind(py)
            .setattr(abi::ATTRIBUTE, value.bind(py))
            .expect("a place");
    }
    match raw::Remote::new(object.bind(py)) {
        Ok(handle) => assert!(!is_error && handle.is_none()),
        Err(_) => assert!(is_error),
    }
}

/// The service's table with another version and size, as long as the process: the client keeps it.
fn newer(version: u32, size: u32) -> *mut Api {
    thread_local! {
        static TABLE: Cell<*mut Api> = const { Cell::new(ptr::null_mut()) };
    }
    let py = Python::token();
    let capsule = capsule::new::<super::service::Extensions>(py).expect("there is memory");
    let Value::Capsule(_, own) = capsule.as_unbound().object().value else {
        panic!("a capsule");
    };
    // SAFETY: the service's own, which is static.
    let own = unsafe { *own.cast::<Api>() };
    if TABLE.get().is_null() {
        TABLE.set(Box::into_raw(Box::new(own)));
    }
    // SAFETY: from the box; the client does not look while we write.
    unsafe {
        TABLE.get().write(Api {
            version,
            size,
            ..own
        })
    };
    TABLE.get()
}
