//! Programs of bytes against models, with coverage as the guide: `make fuzz-rust`.
//!
//! The rooms contain the crate's own files; what they need of Python, OpenSSL and the loop has a small stand-in.
//! docs/design/0036-coverage.md says what is fuzzed, and what is not.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    clippy::wildcard_imports,
    reason = "the files belong to another crate, which uses the rest of them"
)]

extern crate self as yamanote_client;

#[path = "../../src/addr.rs"]
mod addr;
mod addresses;
mod client;
mod ffi;
mod input;
mod scheduler;
mod sys;
mod targets;
mod transports;

use client::{abi, finalizing, names, running_loop, runtime};

libfuzzer_sys::fuzz_target!(init: targets::choose(), |data: &[u8]| targets::run(data));
