//! How a system call is made, and what its errors mean.

/// Makes a call that returns -1 on failure, and retries it when a signal interrupts it (`EINTR`).
macro_rules! syscall {
    ($($call:tt)*) => {
        loop {
            // SAFETY: every argument is a plain value or points into a borrow of the caller's that lives for the
            // whole call, and its length is passed with it.
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

/// Whether the call may be unavailable, because the kernel is too old or a sandbox denies it. A firewall also denies
/// what is sent with `EPERM`.
pub(crate) fn is_denied(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// Whether the descriptor is closed, or its file does not support the operation.
pub(crate) fn is_of_another_file(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL))
}
