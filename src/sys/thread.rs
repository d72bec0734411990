//! What the kernel knows about a thread of this process.

use super::call::syscall;
use super::clock::NANOS_PER_SECOND;

pub(crate) use super::platform::{current_thread, scheduled};

/// How a thread was scheduled so far. What the system does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Nanoseconds that it ran.
    pub(crate) cpu_ns: Option<u64>,
    /// Nanoseconds that it was ready to run and had no processor, without those of a wait that is not over.
    pub(crate) delay_ns: Option<u64>,
    /// How often it got a processor.
    pub(crate) times: Option<u64>,
    /// Whether it runs or is ready to.
    pub(crate) is_runnable: Option<bool>,
}

/// Nanoseconds that all threads of the process ran.
pub(crate) fn process_cpu_ns() -> Option<u64> {
    cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// What a clock that counts the time on processors says.
pub(super) fn cpu_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let result: std::io::Result<i32> = syscall!(clock_gettime(clock, &raw mut now));
    result.ok()?;
    Some(now.tv_sec.cast_unsigned() * NANOS_PER_SECOND + now.tv_nsec.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use std::hint;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_time_of_a_thread_is_part_of_the_processs() {
        let before = process_cpu_ns().unwrap();
        while process_cpu_ns().unwrap() < before + NANOS_PER_SECOND / 100 {
            hint::spin_loop();
        }
        if let Some(own) = scheduled(current_thread()).cpu_ns {
            assert!(own <= process_cpu_ns().unwrap());
        }
    }

    #[test]
    fn a_thread_that_has_ended_is_not_known() {
        let ended = thread::spawn(current_thread).join().unwrap();
        assert_eq!(scheduled(ended), Scheduled::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_waits_uses_no_processor() {
        let (sender, receiver) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let waiting = thread::spawn(move || {
            sender.send(current_thread()).unwrap();
            stopped.recv()
        });
        let id = receiver.recv().unwrap();
        // It gets there: `recv` blocks.
        while scheduled(id).is_runnable == Some(true) {
            thread::yield_now();
        }
        let seen = scheduled(id);
        assert_eq!(seen.is_runnable, Some(false));
        assert_eq!(scheduled(id).cpu_ns, seen.cpu_ns);
        assert!(seen.times.unwrap() > 0);
        stop.send(()).unwrap();
        waiting.join().unwrap().unwrap();
        assert_eq!(scheduled(current_thread()).is_runnable, Some(true));
    }
}
