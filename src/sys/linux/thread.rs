//! Threads, from their clocks and from `/proc`.

use std::fs;
use std::io;
use std::os::fd::RawFd;

use crate::sys::call::syscall;
use crate::sys::thread::{Scheduled, cpu_ns};

/// The kernel's number of the calling thread, as `threading.get_native_id()` returns it.
pub(crate) fn current_thread() -> u64 {
    // SAFETY: takes no argument, and cannot fail.
    u64::from(unsafe { libc::gettid() }.cast_unsigned())
}

/// How the thread of this number was scheduled so far; nothing if this process has none.
pub(crate) fn scheduled(thread: u64) -> Scheduled {
    let numbers = read(thread, "schedstat").and_then(|text| {
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
        let (_, delay, times) = (numbers.next()?, numbers.next()?, numbers.next()?);
        // A kernel that does not count shows three zeroes, and a thread that exists has run.
        times.clone().is_ok_and(|times| times > 0).then_some(())?;
        Some((delay.ok()?, times.ok()?))
    });
    let is_runnable = read(thread, "stat").and_then(|text| {
        // The name before it may contain anything.
        let state = text.rsplit_once(')')?.1.trim_start().chars().next()?;
        Some(state == 'R')
    });
    Scheduled {
        cpu_ns: clock_of(thread).and_then(cpu_ns),
        delay_ns: numbers.map(|(delay, _)| delay),
        times: numbers.map(|(_, times)| times),
        is_runnable,
    }
}

/// Sends a signal to one thread of this process.
pub(crate) fn signal_thread(thread: u64, signal: i32) -> io::Result<()> {
    // SAFETY: takes no argument, and cannot fail.
    let process = unsafe { libc::getpid() };
    let thread = libc::pid_t::try_from(thread).map_err(io::Error::other)?;
    syscall!(syscall(libc::SYS_tgkill, process, thread, signal))?;
    Ok(())
}

/// An error if the descriptor's file is none of `memfd_create()`.
pub(crate) fn check_memory_file(fd: RawFd) -> io::Result<()> {
    syscall!(fcntl(fd, libc::F_GET_SEALS))?;
    Ok(())
}

fn read(thread: u64, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok()
}

/// The clock of a thread's time on processors. `pthread_getcpuclockid` returns the same, but must not be asked about a
/// thread that may have ended.
fn clock_of(thread: u64) -> Option<libc::clockid_t> {
    const OF_ONE_THREAD: libc::clockid_t = 4;
    const SCHEDULED: libc::clockid_t = 2;
    let thread = libc::clockid_t::try_from(thread).ok()?;
    Some((!thread << 3) | OF_ONE_THREAD | SCHEDULED)
}
