//! What the set finds ready.

use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::{Watch, WatchSet, Watched};
use crate::errors::os_error;
use crate::scheduler::Local;
use crate::sys::poller::{self, Event};

impl Watched {
    /// Queues the callbacks that an event is for, and takes out the futures; whether the event comes again as
    /// long as the descriptor is ready.
    fn take_due(
        &mut self,
        py: Python<'_>,
        event: Event,
        local: &Local,
        due: &mut Vec<Py<PyAny>>,
    ) -> bool {
        let mut repeats = false;
        let sides = [
            (&mut self.reader, event.readable),
            (&mut self.writer, event.writable),
        ];
        for (watch, ready) in sides {
            match watch {
                Watch::Callback(handle) if ready => {
                    // Ignored: without memory it is not queued now, and the event comes again.
                    let _ = local.push(handle.clone_ref(py));
                    repeats = true;
                }
                Watch::Futures(futures) if ready => {
                    due.append(futures);
                    *watch = Watch::Nothing;
                }
                _ => {}
            }
        }
        repeats
    }
}

impl WatchSet {
    /// Queues the callbacks of what is ready now, and returns the futures. While a callback is ready, the set is
    /// looked at again after it ran.
    pub(in crate::scheduler) fn due(
        &mut self,
        py: Python<'_>,
        local: &Local,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let mut futures = Vec::new();
        let mut repeats = false;
        let mut strays = Vec::new();
        let mut untold = false;
        let more = self.poller.ready(|event| {
            let Some(watched) = self
                .watched
                .get_mut(&event.fd)
                .filter(|watched| !watched.is_idle())
            else {
                strays.push(event.fd);
                return;
            };
            let before = watched.interest();
            repeats |= watched.take_due(py, event, local, &mut futures);
            let left = watched.interest();
            // The kernel was told to tell once, and has; or a callback is left, but no future.
            if !watched.is_idle()
                && (before.once || left != before)
                && let Err(error) = self.poller.modify(event.fd, left)
            {
                // One that was closed behind our back has no event to give.
                untold |= !poller::is_gone(&error);
            }
        });
        self.remove_strays(&strays, untold, local);
        match more {
            Ok(more) if more || repeats => self.registration.fire_read(),
            Ok(_) => {
                if self.registration.drained() {
                    self.registration.fire_read();
                }
            }
            Err(error) => {
                // The run ends here, and the next one goes on: the reactor would not tell again.
                self.registration.fire_read();
                return Err(os_error(error));
            }
        }
        Ok(futures)
    }

    /// Takes out what nobody watches: files that live on under another number. This number may take one out, or not.
    /// A `stale` set is made anew in any case.
    fn remove_strays(&mut self, strays: &[RawFd], mut stale: bool, local: &Local) {
        for fd in strays {
            self.watched.remove(fd);
            stale |= self.poller.remove(*fd).is_err();
        }
        if stale {
            // Ignored: no descriptor is left for another set, say. This one serves meanwhile, and the next event
            // that finds strays tries again.
            let _ = local
                .driver()
                .is_ok_and(|driver| self.rebuild(&driver, true).is_ok());
        }
    }
}
