//! The files of `src/sys/`.

#[path = "../../../src/sys/bell.rs"]
pub(crate) mod bell;
#[path = "../../../src/sys/buffer.rs"]
pub(crate) mod buffer;
#[path = "../../../src/sys/call.rs"]
mod call;
#[path = "../../../src/sys/clock.rs"]
pub(crate) mod clock;
#[path = "../../../src/sys/datagram.rs"]
pub(crate) mod datagram;
#[path = "../../../src/sys/fork.rs"]
pub(crate) mod fork;
#[path = "../../../src/sys/memory.rs"]
pub(crate) mod memory;
#[path = "../../../src/sys/names.rs"]
pub(crate) mod names;
#[path = "../../../src/sys/poller.rs"]
pub(crate) mod poller;
#[path = "../../../src/sys/socket.rs"]
pub(crate) mod socket;
#[path = "../../../src/sys/thread.rs"]
pub(crate) mod thread;

#[cfg(target_os = "linux")]
#[path = "../../../src/sys/linux/mod.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "../../../src/sys/macos/mod.rs"]
mod platform;

pub(crate) mod written;

pub(crate) use call::is_of_another_file;
