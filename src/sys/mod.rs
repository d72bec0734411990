//! System calls: one function, one call, `io::Result` out.
//!
//! The only room that names `libc`. Nothing here knows about Python, tokio or policy; `WouldBlock`
//! goes back to the caller, and only `EINTR` is retried.
//!
//! What differs between kernels has a folder for each, `platform` here: the same names, one way of doing it.

pub(crate) mod buffer;
mod call;
pub(crate) mod clock;
pub(crate) mod datagram;
pub(crate) mod fork;
pub(crate) mod library;
pub(crate) mod memory;
pub(crate) mod pipe;
pub(crate) mod poller;
pub(crate) mod socket;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("yamanote runs on Linux and macOS: src/sys has no folder for this system");

pub(crate) use call::is_of_another_file;
