//! The stack of a thread, written to a file by a signal handler of Python's `faulthandler`.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::thread;
use std::time::Duration;

use super::call::syscall;
use super::platform::{check_memory_file, signal_thread};

/// The signal whose handler writes the stack of the thread that gets it, and the file that it writes to. The file is open
/// for reading, and for writing at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dumper {
    pub(crate) signal: i32,
    pub(crate) file: RawFd,
}

impl Dumper {
    /// Returns what the handler writes for a thread. Not for two threads at a time.
    ///
    /// The thread need not get anywhere for that; a call of the system that it is in goes on afterwards, where the
    /// system can. An error if the handler is gone, or the thread.
    pub(crate) fn dump(self, thread: u64) -> io::Result<String> {
        // The signal would end the process.
        if !is_handled(self.signal)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        // A program that closes descriptors that it does not know has another file there now.
        check_memory_file(self.file)?;
        let before = self.size()?;
        signal_thread(thread, self.signal)?;
        let mut size = before;
        for _ in 0..TRIES {
            thread::sleep(TRY);
            let now = self.size()?;
            // It writes line by line, without a pause.
            if now > before && now == size {
                break;
            }
            size = now;
        }
        let text = self.read(before, size - before)?;
        // Ignored: it only keeps the file small.
        let _: io::Result<i32> = syscall!(ftruncate(self.file, 0));
        Ok(text)
    }

    fn size(self) -> io::Result<i64> {
        // SAFETY: all zeroes is a valid value.
        let mut about: libc::stat = unsafe { std::mem::zeroed() };
        syscall!(fstat(self.file, &raw mut about))?;
        Ok(about.st_size)
    }

    fn read(self, from: i64, size: i64) -> io::Result<String> {
        let mut bytes = vec![0_u8; usize::try_from(size).unwrap_or(0)];
        let count = syscall!(pread(
            self.file,
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            from
        ))?;
        bytes.truncate(count.cast_unsigned());
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Whether a signal calls a function.
fn is_handled(signal: i32) -> io::Result<bool> {
    // SAFETY: all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    syscall!(sigaction(signal, ptr::null(), &raw mut action))?;
    Ok(!matches!(
        action.sa_sigaction,
        libc::SIG_DFL | libc::SIG_IGN
    ))
}

/// A thread that sleeps in a system call or computes gets the signal at once; one without a processor, when it has one.
const TRY: Duration = Duration::from_millis(2);
const TRIES: usize = 50;
