//! Calls in debug mode, calls that a trace shows, and calls whose order or faults `yamanote.testing` decides.

use pyo3::prelude::*;

use super::Turn;
use crate::ffi::handle::{self, Handle};
use crate::ffi::handle_words::{self, Word};
use crate::ffi::naming::{self, Called};
use crate::ffi::{handle_collector, name};
use crate::scheduler::Source;
use crate::scheduler::contain::{contain, is_exit};
use crate::scheduler::tracer::{Kind, Slice};

/// What a trace shows for a call; `None` for nothing.
pub(super) type Shown = Option<(Kind, Option<Called>)>;

impl Turn<'_, '_> {
    /// Runs `call`; in debug mode, reports it if it took long. For a trace, `shown` says what it is.
    #[inline]
    pub(super) fn timed(
        &self,
        culprit: Option<&Bound<'_, PyAny>>,
        shown: impl FnOnce() -> PyResult<Shown>,
        call: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        if self.core.get().is_observed() {
            self.observed(culprit, shown, call)
        } else {
            call()
        }
    }

    /// As `timed`, in debug mode, traced, arranged or with faults.
    #[cold]
    fn observed(
        &self,
        culprit: Option<&Bound<'_, PyAny>>,
        shown: impl FnOnce() -> PyResult<Shown>,
        call: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        let (slice, named) = self.slice(shown);
        let result = if self.core.get().is_debug() {
            self.timed_in_debug(culprit, call)
        } else {
            call()
        };
        drop(slice);
        self.note_end();
        // An exit that the name of a callback has raised does not keep the callback from running.
        result.and(named)
    }

    /// Begins the slice of a call; returns an exception that ends the run.
    fn slice(
        &self,
        shown: impl FnOnce() -> PyResult<Shown>,
    ) -> (Option<Slice<'_, '_>>, PyResult<()>) {
        let (py, core) = (self.core.py(), self.core.get());
        if !core.is_traced() {
            return (None, Ok(()));
        }
        let slice = |kind, called| Some(core.shared.tracer.slice(py, kind, called));
        match shown() {
            Ok(None) => (None, Ok(())),
            Ok(Some((kind, called))) => (slice(kind, called), Ok(())),
            Err(error) if is_exit(py, &error) => (slice(Kind::Callback, None), Err(error)),
            // Without memory for its name, it has none.
            Err(_) => (slice(Kind::Callback, None), Ok(())),
        }
    }

    /// As `serve`, in debug mode, traced, arranged or with faults.
    #[cold]
    pub(super) fn serve_closely(&self, source: &dyn Source, ready: u8) -> PyResult<()> {
        let shown = || source.traced(self.core, ready).map(Some);
        self.observed(None, shown, || {
            if self.core.get().has_faults() {
                self.served(source, source.on_ready_with_faults(self.core, ready))
            } else {
                self.serve(source, ready)
            }
        })
    }

    /// As `call`, in debug mode, traced, arranged or with faults.
    #[cold]
    pub(super) fn call_closely(&self, handle: &Bound<'_, Handle>) -> PyResult<()> {
        let culprit = Some(handle.as_any());
        let shown = || match handle_words::word(handle, Word::Callback) {
            Some(callback) if !handle::is_cancelled(handle) => {
                let called = naming::of_callback(&callback)?;
                Ok(Some((Kind::Callback, Some(called))))
            }
            _ => Ok(None),
        };
        let result = self.observed(culprit, shown, || match handle::run(handle) {
            Ok(()) => Ok(()),
            Err(error) => self.failed(handle, error),
        });
        handle_collector::leave(handle);
        result
    }

    /// Tells the trace what this thread is called, which may have ended when the trace is written.
    #[cold]
    pub(super) fn name_thread(&self) -> PyResult<()> {
        let name = name!(self.core.py(), "_trace_thread");
        self.core.call_method0(name).map(drop)
    }

    /// The class of a transport's protocol, or of another object that a deferred call is for.
    #[cold]
    pub(super) fn owner_of(&self, target: &Bound<'_, PyAny>) -> PyResult<Called> {
        let protocol = target.call_method0(name!(self.core.py(), "get_protocol"));
        naming::of_class(protocol.as_ref().unwrap_or(target))
    }

    #[cold]
    fn timed_in_debug(
        &self,
        culprit: Option<&Bound<'_, PyAny>>,
        call: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        let py = self.core.py();
        let current = name!(py, "_current_handle");
        // asyncio's reports include the source traceback of the current handle.
        self.core.setattr(
            current,
            culprit.filter(|culprit| handle::downcast(culprit).is_some()),
        )?;
        let started = self.now()?;
        let result = call();
        self.core.setattr(current, py.None())?;
        result?;
        let name = name!(py, "_report_slow_callback");
        let seconds = self.now()? - started;
        let told = self.core.call_method1(name, (culprit, seconds));
        contain(self.core, culprit, told.map(drop))
    }
}
