//! Raw CPython, and the OpenSSL that its `_ssl` is linked with (`openssl`, `bio`, `wire`). Only this room names
//! `pyo3::ffi`.
//!
//! Rules: every function offered to other rooms is safe to call; an exception is returned, never left set; every
//! `extern "C"` function catches panics before they reach the interpreter.

pub(crate) mod adopt;
mod args;
mod bio;
pub(crate) mod buffer;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod capsule;
mod casting;
mod class;
mod class_layout;
pub(crate) mod context;
mod coroutine;
pub(crate) mod descriptor;
pub(crate) mod fields;
pub(crate) mod frames;
pub(crate) mod future;
mod guarded;
pub(crate) mod handle;
mod handle_cancel;
mod handle_class;
pub(crate) mod handle_collector;
mod handle_ended;
mod handle_fields;
mod handle_memory;
mod handle_run;
pub(crate) mod handle_words;
mod immortal;
mod interpreter;
mod kept;
pub(crate) mod make;
mod method;
pub(crate) mod names;
pub(crate) mod naming;
mod nesting;
mod openssl;
mod owner;
pub(crate) mod panics;
mod park;
mod passing;
pub(crate) mod pollable;
mod reference;
pub(crate) mod signals;
mod spares;
mod stop;
mod visitor;
pub(crate) mod wire;

pub(crate) use args::{Args, missing};
pub(crate) use casting::cast_to_usual;
pub(crate) use class::{Class, NativeClass, Visitor, class_of, data, downcast, new_instance};
pub(crate) use coroutine::{Coroutine, Step};
pub(crate) use guarded::Guarded;
pub(crate) use interpreter::refuse_other_interpreters;
pub(crate) use method::{
    Attribute, FastMethod, IntoReturned, Members, Settable, add_fast_attribute, add_fast_method,
    attribute, light_method, members, method, settable, text,
};
pub(crate) use names::name;
pub(crate) use owner::{Entered, Owner, OwnerCell, Stopped};
pub(crate) use park::Parking;
pub(crate) use spares::Spares;
pub(crate) use stop::forget_value;
