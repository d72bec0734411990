//! System calls: one function, one call, `io::Result` out.
//!
//! The only room that names `libc`. Nothing here knows about Python, tokio or policy; `WouldBlock`
//! goes back to the caller, and only `EINTR` is retried.
//!
//! What differs between kernels has a folder for each, `platform` here: the same names, one way of doing it.

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

/// Runs a call that answers -1 on failure; retries while a signal interrupts it.
macro_rules! syscall {
    ($($call:tt)*) => {
        loop {
            // SAFETY: every argument is a plain value or points into a live borrow of the caller's,
            // for the length of the call, with the length that is passed beside it.
            let result = unsafe { libc::$($call)* };
            if result >= 0 {
                break Ok(result);
            }
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                break Err(error);
            }
        }
    };
}
use syscall;

/// Whether the error tells that the number of a descriptor leads to no file, or to one that cannot do what is asked.
pub(crate) fn is_of_another_file(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL))
}
