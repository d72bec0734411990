//! The files of `src/ffi/`, and stand-ins for what they name.

#[path = "../../../src/ffi/bio.rs"]
mod bio;
#[path = "../../../src/ffi/capsule.rs"]
pub(crate) mod capsule;
#[path = "../../../src/ffi/pollable.rs"]
pub(crate) mod pollable;

pub(crate) mod adopt;
pub(crate) mod calls;
pub(crate) mod handle;
pub(crate) mod handle_collector;
pub(crate) mod lines;
pub(crate) mod make;
mod openssl;
mod owner;
mod panics;
mod reference;

pub(crate) use owner::Stopped;

/// A name that is made once.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        let _ = $py;
        $text
    }};
}
pub(crate) use name;
