//! One system call, and what its errors mean.

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
pub(super) use syscall;

/// Whether the error tells that the number of a descriptor leads to no file, or to one that cannot do what is asked.
pub(crate) fn is_of_another_file(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL))
}
