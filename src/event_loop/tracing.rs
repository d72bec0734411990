//! What `yamanote.trace()` calls.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};

use crate::ffi::{Guarded, add_fast_method, make, method};
use crate::scheduler::Core;
use crate::scheduler::tracer::{Event, Tracer};

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<StartTrace>(class)?;
    add_fast_method::<StopTrace>(class)
}

type This = Core;

method!(
    StartTrace,
    "_start_trace",
    "($self, events, /)",
    "Record the last so many events from now on.",
    |this, arguments| {
        arguments.expect("_start_trace", 1, 1)?;
        let (py, core) = (this.py(), this.get());
        if let Some(events) = arguments.get(0) {
            core.start_trace(py, events.extract()?);
        }
        let tracer = Arc::clone(&core.shared.tracer);
        let recording = Recording {
            tracer,
            taken: Guarded::new(Vec::new()),
        };
        Ok(Bound::new(py, recording)?.into_any())
    }
);

method!(StopTrace, "_stop_trace", "Record no more events.", |this| {
    this.get().stop_trace();
    Ok(())
});

/// What a loop records for a trace. It may outlive the loop.
#[pyclass(frozen, module = "yamanote._yamanote")]
#[derive(Debug)]
pub(crate) struct Recording {
    tracer: Arc<Tracer>,
    /// Once it has ended, the events that are not taken yet, the last one first.
    taken: Guarded<Vec<Event>>,
}

#[pymethods]
impl Recording {
    /// How many events are held, and how many were dropped.
    fn counts(&self, py: Python<'_>) -> (usize, u64) {
        self.tracer.counts(py)
    }

    /// Whether nothing else refers to the loop's recorder: then the loop is gone.
    fn is_over(&self) -> bool {
        Arc::strong_count(&self.tracer) == 1
    }

    /// End the recording. Return how many events were dropped.
    fn end(&self, py: Python<'_>) -> PyResult<u64> {
        let (mut events, dropped) = self.tracer.take(py)?;
        events.reverse();
        drop(
            self.taken
                .with(py, |taken| std::mem::replace(taken, events)),
        );
        Ok(dropped)
    }

    /// Return up to so many events, in the order of their beginnings, and forget them.
    #[pyo3(signature = (count, /))]
    fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyList>> {
        let events = self.taken.with(py, |taken| {
            let mut events = taken.split_off(taken.len().saturating_sub(count));
            events.reverse();
            events
        });
        let events = events.into_iter().map(|event| to_python(py, event));
        let events = make::collected(events)?;
        let events: Vec<_> = events.iter().map(Bound::as_borrowed).collect();
        make::list(py, &events)
    }
}

/// `(began, ended, thread, kind, name, code, task)`.
fn to_python(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyAny>> {
    let integer = |number: u64| make::int(py, usize::try_from(number).unwrap_or(usize::MAX));
    let object = |object: Option<Py<PyAny>>| {
        object.map_or_else(|| make::none(py), |object| object.into_bound(py))
    };
    let (name, code, task) = event.called.map_or((None, None, None), |called| {
        (Some(called.name), called.code, called.task)
    });
    let items = [
        integer(event.began)?.into_any(),
        integer(event.ended)?.into_any(),
        integer(u64::from(event.thread))?.into_any(),
        make::string(py, event.kind.word())?.into_any(),
        object(name),
        object(code),
        object(task),
    ];
    Ok(make::tuple(py, &items.each_ref().map(Bound::as_borrowed))?.into_any())
}
