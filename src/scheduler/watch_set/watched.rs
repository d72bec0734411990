//! What is watched of one descriptor.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use pyo3::prelude::*;

use crate::ffi::handle::Handle;
use crate::ffi::{Stopped, handle_collector};
use crate::scheduler::visit::Visit;
use crate::sys::poller::{BAD_DESCRIPTOR, Interest, Poller};

/// The direction in which a descriptor is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

/// What happens when a descriptor becomes ready.
#[derive(Debug, Default)]
pub(in crate::scheduler) enum Watch {
    #[default]
    Nothing,
    /// Of `add_reader` or `add_writer`: called in each turn that finds the descriptor ready.
    Callback(Callback),
    /// Futures, completed once, all together; their owners then try again.
    Futures(Vec<Py<PyAny>>),
}

/// A callback, and the object that the program passed for the descriptor, unless it passed the number: a closed
/// object no longer has one, and `remove_reader()` finds it here.
#[derive(Debug)]
pub(in crate::scheduler) struct Callback {
    pub(in crate::scheduler) handle: Py<Handle>,
    pub(in crate::scheduler) object: Option<Py<PyAny>>,
}

impl Watch {
    pub(in crate::scheduler) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Whether the program passed this very object for the descriptor.
    fn is_of(&self, object: &Bound<'_, PyAny>) -> bool {
        let Self::Callback(callback) = self else {
            return false;
        };
        let given = callback.object.as_ref();
        given.is_some_and(|given| given.is(object))
    }

    fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        match self {
            Self::Nothing => {}
            Self::Callback(callback) => {
                handle_collector::objects(&callback.handle, stopped, visit);
                callback.object.iter().for_each(visit);
            }
            Self::Futures(futures) => futures.iter().for_each(visit),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) reader: Watch,
    pub(super) writer: Watch,
    /// Of the file that the kernel watches under this number.
    pub(super) tag: u32,
}

impl Watched {
    pub(super) fn side(&mut self, side: Side) -> &mut Watch {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    pub(super) fn interest(&self) -> Interest {
        let [read, write] = [&self.reader, &self.writer].map(|watch| !watch.is_nothing());
        let repeats = |watch: &Watch| matches!(watch, Watch::Callback(_));
        Interest {
            read,
            write,
            once: !repeats(&self.reader) && !repeats(&self.writer),
            tag: self.tag,
        }
    }

    pub(super) fn has_futures(&self) -> bool {
        let waits = |watch: &Watch| matches!(watch, Watch::Futures(_));
        waits(&self.reader) || waits(&self.writer)
    }

    /// Removes the futures if the descriptor is closed, or its number refers to another file than the set watches.
    pub(super) fn take_orphans(
        &mut self,
        poller: &Poller,
        fd: RawFd,
        orphans: &mut Vec<Py<PyAny>>,
    ) {
        // Setting the current interest again fails exactly if the kernel does not watch the file.
        if !self.has_futures() || !poller.modify(fd, self.interest()).is_err_and(is_gone) {
            return;
        }
        for watch in [&mut self.reader, &mut self.writer] {
            if let Watch::Futures(futures) = watch {
                orphans.append(futures);
                *watch = Watch::Nothing;
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.reader.is_nothing() && self.writer.is_nothing()
    }

    /// Whether the program passed this very object for the descriptor.
    pub(super) fn is_of(&self, object: &Bound<'_, PyAny>) -> bool {
        self.reader.is_of(object) || self.writer.is_of(object)
    }

    /// Visits everything held for the garbage collector.
    pub(super) fn objects(&self, stopped: Stopped<'_>, visit: Visit<'_>) {
        self.reader.objects(stopped, visit);
        self.writer.objects(stopped, visit);
    }
}

/// Whether the kernel reports that the number is not a descriptor, or that its file is not in the set.
#[expect(clippy::needless_pass_by_value, reason = "as `is_err_and` gives it")]
fn is_gone(error: io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(BAD_DESCRIPTOR)
}
