//! A level-triggered set of descriptors, nested in the reactor's set.

use std::io;
use std::os::fd::RawFd;

pub(crate) use super::platform::{Poller, REFUSES_WATCHED};

/// Whether the set refused a descriptor because it is closed, or because its file cannot be watched.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::ENOENT | libc::EPERM)
    )
}

/// The error for a number that is not an open descriptor.
pub(crate) const BAD_DESCRIPTOR: i32 = libc::EBADF;

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Report readiness once, then not until the next `modify`. Without it, report for as long as the descriptor is
    /// ready.
    pub(crate) once: bool,
    /// Comes back with each event.
    pub(crate) tag: u32,
}

/// One ready descriptor. An error or hang-up counts as both readable and writable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) fd: RawFd,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Of the interest that was set last.
    pub(crate) tag: u32,
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::call::syscall;
    use crate::sys::pipe;

    const READING: Interest = Interest {
        read: true,
        write: false,
        once: false,
        tag: 7,
    };
    const BOTH: Interest = Interest {
        read: true,
        write: true,
        once: false,
        tag: 7,
    };

    #[test]
    fn what_is_ready_is_told_for_as_long_as_it_is() {
        let (poller, mut here, mut there) = watched(READING);
        assert_eq!(ready(&poller), []);
        there.write_all(b"x").unwrap();
        for _ in 0..3 {
            assert_eq!(ready(&poller), [(here.as_raw_fd(), true, false)]);
        }
        here.read_exact(&mut [0]).unwrap();
        assert_eq!(ready(&poller), []);
    }

    #[test]
    fn once_is_once_until_it_is_asked_for_again() {
        let once = Interest {
            once: true,
            ..READING
        };
        let (poller, here, mut there) = watched(once);
        there.write_all(b"x").unwrap();
        for _ in 0..2 {
            assert_eq!(ready(&poller), [(here.as_raw_fd(), true, false)]);
            assert_eq!(ready(&poller), []);
            put(&poller, here.as_raw_fd(), once).unwrap();
        }
        // A descriptor is reported repeatedly even if it was armed once before, and has fired.
        for _ in 0..2 {
            put(&poller, here.as_raw_fd(), READING).unwrap();
            assert_eq!(ready(&poller).len(), 1);
            assert_eq!(ready(&poller).len(), 1);
            put(&poller, here.as_raw_fd(), once).unwrap();
        }
        assert_eq!(ready(&poller).len(), 1);
        assert_eq!(ready(&poller), []);
    }

    #[test]
    fn each_direction_is_told_and_let_go_of_alone() {
        let (poller, here, mut there) = watched(BOTH);
        let fd = here.as_raw_fd();
        assert_eq!(ready(&poller), [(fd, false, true)]);
        there.write_all(b"x").unwrap();
        assert_eq!(ready(&poller), [(fd, true, true)]);
        put(&poller, fd, READING).unwrap();
        assert_eq!(ready(&poller), [(fd, true, false)]);
        poller.remove(fd).unwrap();
        assert_eq!(ready(&poller), []);
    }

    #[test]
    fn a_hang_up_counts_for_both() {
        let (poller, here, there) = watched(BOTH);
        drop(there);
        assert_eq!(ready(&poller), [(here.as_raw_fd(), true, true)]);
    }

    #[test]
    fn a_closed_number_leaves_and_may_be_used_again() {
        let (poller, here, mut there) = watched(READING);
        let (other, mut far) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        there.write_all(b"x").unwrap();
        // Closes the old file in the same step, so that no other test can take the number in between.
        let result: io::Result<i32> = syscall!(dup2(other.as_raw_fd(), fd));
        result.unwrap();
        assert_eq!(ready(&poller), []);
        put(&poller, fd, READING).unwrap();
        assert_eq!(ready(&poller), []);
        far.write_all(b"x").unwrap();
        assert_eq!(ready(&poller), [(fd, true, false)]);
    }

    #[test]
    fn what_is_not_open_is_refused() {
        let poller = Poller::new().unwrap();
        assert!(put(&poller, -1, READING).is_err());
    }

    #[test]
    fn more_than_a_batch_comes_in_several_looks() {
        let poller = Poller::new().unwrap();
        let mut pairs: Vec<_> = (0..70).map(|_| UnixStream::pair().unwrap()).collect();
        for (here, there) in &mut pairs {
            put(&poller, here.as_raw_fd(), READING).unwrap();
            there.write_all(b"x").unwrap();
        }
        let mut found = Vec::new();
        assert!(poller.ready(|event| found.push(event.fd)).unwrap());
        poller.ready(|event| found.push(event.fd)).unwrap();
        for (here, _) in &pairs {
            assert!(found.contains(&here.as_raw_fd()));
        }
    }

    #[test]
    fn the_set_is_itself_readable_while_something_is_ready() {
        let (poller, mut here, mut there) = watched(READING);
        let is_ready = || pipe::has_input(poller.as_raw_fd()).unwrap();
        assert!(!is_ready());
        there.write_all(b"x").unwrap();
        assert!(is_ready());
        assert_eq!(ready(&poller).len(), 1);
        assert!(is_ready());
        here.read_exact(&mut [0]).unwrap();
        assert_eq!(ready(&poller), []);
        assert!(!is_ready());
    }

    fn watched(interest: Interest) -> (Poller, UnixStream, UnixStream) {
        let poller = Poller::new().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        put(&poller, here.as_raw_fd(), interest).unwrap();
        (poller, here, there)
    }

    /// As the watchers do, which cannot know which file a number stands for.
    fn put(poller: &Poller, fd: RawFd, interest: Interest) -> io::Result<()> {
        match poller.modify(fd, interest) {
            Err(error) if error.kind() == ErrorKind::NotFound => poller.add(fd, interest),
            told => told,
        }
    }

    /// What is ready, each descriptor once: one kernel reports both directions together, another separately.
    fn ready(poller: &Poller) -> Vec<(RawFd, bool, bool)> {
        let mut found: Vec<(RawFd, bool, bool)> = Vec::new();
        let more = poller.ready(|event| {
            assert_eq!(event.tag, READING.tag);
            match found.iter_mut().find(|one| one.0 == event.fd) {
                Some((_, readable, writable)) => {
                    *readable |= event.readable;
                    *writable |= event.writable;
                }
                None => found.push((event.fd, event.readable, event.writable)),
            }
        });
        assert!(!more.unwrap());
        found
    }
}
