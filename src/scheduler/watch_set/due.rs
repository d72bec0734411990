//! What the set finds ready.

use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::watched::Watched;
use super::{Watch, WatchSet};
use crate::errors::os_error;
use crate::scheduler::Local;
use crate::sys::poller::{self, Event};

impl Watched {
    /// Queues the callbacks for an event, and removes the futures. Returns whether the event comes again while the
    /// descriptor is ready.
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
                Watch::Callback(callback) if ready => {
                    // Ignored: without memory, the callback is not queued now, but the event comes again.
                    let _ = local.push(callback.handle.clone_ref(py));
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
    /// Queues the callbacks of descriptors that are ready now, and returns the futures. While a callback's descriptor
    /// is ready, the set is polled again after the callback ran.
    pub(in crate::scheduler) fn due(
        &mut self,
        py: Python<'_>,
        local: &Local,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let mut futures = Vec::new();
        let mut repeats = false;
        let mut strays = Vec::new();
        let mut stale = false;
        let more = self.poller.ready(|event| {
            let watched = match self.watched.get_mut(&event.fd) {
                Some(watched) if watched.tag != event.tag => {
                    // Of a file that had this number before.
                    stale = true;
                    return;
                }
                Some(watched) if !watched.is_idle() => watched,
                _ => {
                    strays.push(event.fd);
                    return;
                }
            };
            let before = watched.interest();
            repeats |= watched.take_due(py, event, local, &mut futures);
            let left = watched.interest();
            // A one-shot interest has fired and must be set again, or a callback is left without futures.
            if !watched.is_idle()
                && (before.once || left != before)
                && let Err(error) = self.poller.modify(event.fd, left)
            {
                // A descriptor that the program has closed has no events.
                stale |= !poller::is_gone(&error);
            }
        });
        self.remove_strays(&strays, stale, local);
        match more {
            Ok(more) if more || repeats => self.registration.fire_read(),
            Ok(_) => {
                if self.registration.drained() {
                    self.registration.fire_read();
                }
            }
            Err(error) => {
                // This error ends the run; the next one must continue, because the reactor would not fire again.
                self.registration.fire_read();
                return Err(os_error(error));
            }
        }
        Ok(futures)
    }

    /// Removes files that are in the set without a watch: files that live on under another number. Removal by this
    /// number may fail; the set is then rebuilt, as it is if `stale`.
    fn remove_strays(&mut self, strays: &[RawFd], mut stale: bool, local: &Local) {
        for fd in strays {
            self.watched.remove(fd);
            stale |= self.poller.remove(*fd).is_err();
        }
        if stale {
            // Ignored: for example, no descriptor may be left for a new set. The current one still works, and the
            // next event that finds strays tries again.
            let _ = local
                .driver()
                .is_ok_and(|driver| self.rebuild(&driver, true).is_ok());
        }
    }
}
