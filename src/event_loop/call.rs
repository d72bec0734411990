//! The arguments of a method that takes a callback, and the handle that they make.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::ffi::handle::{self, Handle, HandleKind, HandleParts};
use crate::ffi::{Args, missing, name};
use crate::scheduler::Core;
use crate::scheduler::handle::trace_source;

/// The parsed arguments `(…, callback, *args, context=None)`.
pub(super) struct Call<'a, 'py> {
    pub(super) callback: Borrowed<'a, 'py, PyAny>,
    arguments: Args<'a, 'py>,
    /// Index in `arguments` of the callback's first argument.
    first: usize,
    context: Option<Borrowed<'a, 'py, PyAny>>,
    /// `delay` or `when`, if passed by name.
    pub(super) leading: Option<Borrowed<'a, 'py, PyAny>>,
}

impl<'a, 'py> Call<'a, 'py> {
    /// Parses a call in which `before` positional arguments precede the callback.
    #[expect(
        clippy::inline_always,
        reason = "called most often; otherwise nine words would be passed through memory"
    )]
    #[inline(always)]
    pub(super) fn parse(arguments: Args<'a, 'py>, method: &str, before: usize) -> PyResult<Self> {
        let first = before + 1;
        if let Some(callback) = arguments.get(before) {
            if !arguments.has_keywords() {
                return Ok(Self {
                    callback,
                    arguments,
                    first,
                    context: None,
                    leading: None,
                });
            }
            // asyncio's tasks call it this way.
            if let Some(context) = arguments.single_keyword(name!(arguments.py(), "context")) {
                let context = (!context.is_none()).then_some(context);
                return Ok(Self {
                    callback,
                    arguments,
                    first,
                    context,
                    leading: None,
                });
            }
        }
        let (callback, context, leading) =
            Self::parse_keywords(arguments, method, arguments.get(before))?;
        let callback = callback.ok_or_else(|| missing(method, "callback"))?;
        Ok(Self {
            callback,
            arguments,
            first,
            context,
            leading,
        })
    }

    #[cold]
    #[expect(
        clippy::type_complexity,
        reason = "three optional arguments of one caller"
    )]
    fn parse_keywords(
        arguments: Args<'a, 'py>,
        method: &str,
        mut callback: Option<Borrowed<'a, 'py, PyAny>>,
    ) -> PyResult<(
        Option<Borrowed<'a, 'py, PyAny>>,
        Option<Borrowed<'a, 'py, PyAny>>,
        Option<Borrowed<'a, 'py, PyAny>>,
    )> {
        let py = arguments.py();
        let (mut context, mut leading) = (None, None);
        for (name, value) in arguments.keywords() {
            let name = &*name;
            if name.is(name!(py, "context")) || name == "context" {
                context = (!value.is_none()).then_some(value);
            } else if name == "callback" && callback.is_none() {
                callback = Some(value);
            } else if arguments.len() == 0 && (name == "delay" || name == "when") {
                leading = Some(value);
            } else {
                return Err(PyTypeError::new_err(format!(
                    "{method}() got an unexpected keyword argument '{name}'"
                )));
            }
        }
        Ok((callback, context, leading))
    }

    /// The number in front of the callback.
    pub(super) fn leading(
        &self,
        arguments: Args<'a, 'py>,
        name: &str,
        none: &'static str,
    ) -> PyResult<Borrowed<'a, 'py, PyAny>> {
        let value = self
            .leading
            .or_else(|| arguments.get(0))
            .ok_or_else(|| missing(name, name))?;
        if value.is_none() {
            return Err(PyTypeError::new_err(none));
        }
        Ok(value)
    }

    #[expect(clippy::inline_always, reason = "see `parse`")]
    #[inline(always)]
    pub(super) fn handle(
        &self,
        core: &Bound<'py, Core>,
        kind: HandleKind,
        when: f64,
    ) -> PyResult<Bound<'py, Handle>> {
        let handle = handle::new(&HandleParts {
            event_loop: core.as_any(),
            callback: self.callback,
            arguments: self.arguments,
            first: self.first,
            context: self.context,
            when,
            kind,
            // On free-threaded builds the collector visits all objects anyway.
            tracked: cfg!(Py_GIL_DISABLED) || !core.get().is_running(),
        })?;
        if core.get().is_debug() {
            trace_source(&handle)?;
        }
        Ok(handle)
    }
}
