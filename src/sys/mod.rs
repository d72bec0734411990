//! System calls: one function, one call, `io::Result` out.
//!
//! The only room that names `libc`. Nothing here knows about Python, tokio or policy; `WouldBlock`
//! goes back to the caller, and only `EINTR` is retried.

pub(crate) mod datagram;
mod epoll;
pub(crate) mod fork;
pub(crate) mod memory;
pub(crate) mod pipe;
pub(crate) mod socket;
pub(crate) mod timerfd;

pub(crate) use epoll::{Epoll, Event, Interest};

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
