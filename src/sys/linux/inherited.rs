//! What a forked child has of a reactor that it had to forget.

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// In a forked child: closes its copies of every epoll set that watches `fd`, and of the eventfd that wakes them.
///
/// They belong to a runtime of the parent's that the child forgot, because it could not touch it; the
/// parent's own are not affected. Without /proc they stay open.
pub(crate) fn close_sets_that_watch(fd: RawFd) {
    let mut inherited = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let Some(set) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if !is_a(set, "[eventpoll]") {
            continue;
        }
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{set}")).unwrap_or_default();
        let watched: Vec<_> = info.lines().filter_map(watched).collect();
        // A set of somebody else's may still list the number of a descriptor that is long closed.
        let waker = watched.iter().find(|(_, token)| *token == WAKER);
        if let Some((waker, _)) = waker
            && is_a(*waker, "[eventfd]")
            && watched.iter().any(|(other, _)| *other == fd)
        {
            inherited.extend([set, *waker]);
        }
    }
    inherited.sort_unstable();
    inherited.dedup();
    for number in inherited {
        // SAFETY: its owner was forgotten, so that nobody else will use or close it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

fn is_a(fd: RawFd, kind: &str) -> bool {
    fs::read_link(format!("/proc/self/fd/{fd}"))
        .is_ok_and(|target| target.as_os_str() == format!("anon_inode:{kind}").as_str())
}

/// The descriptor and the token in a line of an epoll set's `fdinfo`: `tfd: 5 events: 19 data: 0 pos:0 ...`.
fn watched(line: &str) -> Option<(RawFd, u64)> {
    let mut words = line.strip_prefix("tfd:")?.split_whitespace();
    let fd = words.next()?.parse().ok()?;
    let token = words.skip_while(|word| *word != "data:").nth(1)?;
    Some((fd, u64::from_str_radix(token, 16).ok()?))
}

/// tokio's token for its waker (`TOKEN_WAKEUP`); all others are addresses.
const WAKER: u64 = 0;
