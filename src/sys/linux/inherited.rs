//! Cleans up what a forked child inherits of a reactor.

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// In a forked child: closes its copies of every epoll set that watches `fd`, and of the eventfds that wake them.
///
/// They belong to a runtime of the parent that the child could not drop safely and forgot; the parent's own
/// descriptors are not affected. Without /proc they stay open.
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
        // Another library's set may still list the number of a descriptor that has long been closed.
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
        // SAFETY: its owner was forgotten, so no other code uses or closes it.
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
