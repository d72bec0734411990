//! A transport as the loop's table of sources sees it: events, limits and pressure.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::prelude::*;

use super::lifecycle::Transport;
use crate::ffi::context::run_in;
use crate::ffi::naming::{self, Called};
use crate::ffi::{Stopped, data};
use crate::scheduler::limits::Look;
use crate::scheduler::tracer::Kind;
use crate::scheduler::{Core, Local, Source, Visit};

/// The transport as the source that the loop's table holds.
pub(crate) fn of<T: Transport>(this: &Bound<'_, T>) -> Arc<dyn Source> {
    Arc::new(TransportSource {
        transport: this.clone().unbind(),
    })
}

/// A transport in the loop's table.
struct TransportSource<T> {
    transport: Py<T>,
}

impl<T: Transport> Source for TransportSource<T> {
    #[inline]
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        let py = core.py();
        let this = self.transport.bind(py);
        let state = data(this).state(py)?;
        let result = run_in(data(this).context().bind(py), |_| {
            T::on_ready(this, &state, ready)
        });
        if result.is_err()
            && let Some(registration) = &*T::life(&state).registration.borrow()
        {
            // This exception ends the run; the next one must continue, because the reactor would not fire again.
            registration.slot().fire(ready);
        }
        result
    }

    fn on_ready_with_faults(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        let py = core.py();
        let this = self.transport.bind(py);
        let state = data(this).state(py)?;
        let context = data(this).context().bind(py);
        let ready = run_in(context, |_| T::meet_faults(this, &state, ready))?;
        let result = self.on_ready(core, ready);
        T::faults_met(&state);
        result
    }

    fn traced(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<(Kind, Option<Called>)> {
        let py = core.py();
        let state = data(self.transport.bind(py)).state(py)?;
        let protocol = T::life(&state).protocol(py);
        let called = protocol.map(|protocol| naming::of_class(&protocol));
        Ok((Kind::of_event(ready), called.transpose()?))
    }

    fn on_failed(&self, core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
        let this = self.transport.bind(core.py());
        let context = data(this).context().bind(core.py());
        run_in(context, |_| T::on_failed(this, error))
    }

    fn again(&self) -> u8 {
        T::AGAIN
    }

    fn renew(&self, py: Python<'_>, local: &Local) {
        // Ignored: this thread already holds the loop's state.
        if let Ok(state) = data(self.transport.bind(py)).state(py) {
            local.revive(T::life(&state).registration.borrow().as_ref());
        }
    }

    fn transport<'py>(&self, py: Python<'py>, fd: Option<RawFd>) -> Option<Bound<'py, PyAny>> {
        let transport = self.transport.bind(py);
        let Some(fd) = fd else {
            return Some(transport.as_any().clone());
        };
        let state = data(transport).state(py);
        let is_its = T::CLAIMS && state.is_ok_and(|state| T::life(&state).fd == fd);
        is_its.then(|| transport.as_any().clone())
    }

    fn look(&self, py: Python<'_>, now: u32) -> Look {
        let state = data(self.transport.bind(py)).state(py);
        state.map_or(Look::default(), |state| {
            let (reads, sends_file) = (T::reads(&state), T::sends_file(&state));
            T::life(&state).look(now, reads, sends_file)
        })
    }

    fn press(&self, core: &Bound<'_, Core>, has_risen: bool) -> PyResult<()> {
        let py = core.py();
        let this = self.transport.bind(py);
        let state = data(this).state(py)?;
        if T::life(&state).terms.is_accepted() {
            run_in(data(this).context().bind(py), |_| {
                T::press(this, &state, has_risen)
            })
        } else {
            Ok(())
        }
    }

    fn shed(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        let py = core.py();
        let this = self.transport.bind(py);
        let state = data(this).state(py)?;
        run_in(data(this).context().bind(py), |_| {
            T::force_close(this, &state, None)
        })
    }

    fn objects(&self, _stopped: Stopped<'_>, visit: Visit<'_>) {
        visit(self.transport.as_any());
    }
}
