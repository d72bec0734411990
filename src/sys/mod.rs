//! System calls. Each function makes one call and returns an `io::Result`.
//!
//! This is the only room that names `libc`. Nothing here knows about Python, tokio or policy: `WouldBlock` is
//! returned to the caller, and only `EINTR` is retried.
//!
//! Each kernel has a folder with the same names, used here as `platform`.

pub(crate) mod bell;
pub(crate) mod buffer;
mod call;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod datagram;
pub(crate) mod dump;
#[cfg(feature = "faults")]
mod faults;
pub(crate) mod fork;
pub(crate) mod library;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod nap;
pub(crate) mod pipe;
pub(crate) mod poller;
pub(crate) mod socket;
pub(crate) mod thread;

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
