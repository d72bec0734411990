//! The arguments of a method that takes a callback, and the handle that they make.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::ffi::handle::{self, Handle, HandleKind, HandleParts};
use crate::ffi::{Args, missing};
use crate::scheduler::Core;
use crate::scheduler::handle::trace_source;

/// How a method is called: `(leading, callback, *args, context=None)`.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    method: &'static str,
    /// The parameter in front of the callback.
    leading: Option<&'static str>,
    has_context: bool,
}

impl Signature {
    /// `method(callback, *args, context=None)`
    pub(super) const fn of(method: &'static str) -> Self {
        Self {
            method,
            leading: None,
            has_context: true,
        }
    }

    /// `method(leading, callback, *args, context=None)`
    pub(super) const fn after(method: &'static str, leading: &'static str) -> Self {
        Self {
            leading: Some(leading),
            ..Self::of(method)
        }
    }

    /// Without the keyword `context`.
    pub(super) const fn without_context(self) -> Self {
        Self {
            has_context: false,
            ..self
        }
    }

    /// The number of positional arguments in front of the callback.
    const fn before(self) -> usize {
        self.leading.is_some() as usize
    }
}

/// The parsed arguments.
pub(super) struct Call<'a, 'py> {
    pub(super) callback: Borrowed<'a, 'py, PyAny>,
    arguments: Args<'a, 'py>,
    /// Index in `arguments` of the callback's first argument.
    first: usize,
    context: Option<Borrowed<'a, 'py, PyAny>>,
    /// What precedes the callback, if the method has that.
    leading: Option<Borrowed<'a, 'py, PyAny>>,
}

impl<'a, 'py> Call<'a, 'py> {
    #[expect(
        clippy::inline_always,
        reason = "called most often; otherwise nine words would be passed through memory"
    )]
    #[inline(always)]
    pub(super) fn parse(arguments: Args<'a, 'py>, signature: Signature) -> PyResult<Self> {
        let before = signature.before();
        if let Some(callback) = arguments.get(before) {
            let with = |context| Self {
                callback,
                arguments,
                first: before + 1,
                context,
                leading: signature.leading.and_then(|_| arguments.get(0)),
            };
            if !arguments.has_keywords() {
                return Ok(with(None));
            }
            // asyncio's tasks call it this way.
            if signature.has_context
                && let Some(context) = arguments.only_context()
            {
                return Ok(with((!context.is_none()).then_some(context)));
            }
        }
        Self::parse_keywords(arguments, signature)
    }

    #[cold]
    fn parse_keywords(arguments: Args<'a, 'py>, signature: Signature) -> PyResult<Self> {
        let before = signature.before();
        let mut callback = arguments.get(before);
        let mut leading = signature.leading.and_then(|_| arguments.get(0));
        let mut context = None;
        for (name, value) in arguments.keywords() {
            let name = &*name;
            if signature.has_context && name == "context" {
                context = (!value.is_none()).then_some(value);
            } else if callback.is_none() && name == "callback" {
                callback = Some(value);
            } else if leading.is_none() && signature.leading.is_some_and(|known| name == known) {
                leading = Some(value);
            } else {
                return Err(PyTypeError::new_err(format!(
                    "{}() got an unexpected keyword argument '{name}'",
                    signature.method
                )));
            }
        }
        Ok(Self {
            callback: callback.ok_or_else(|| missing(signature.method, "callback"))?,
            arguments,
            first: before + 1,
            context,
            leading,
        })
    }

    /// What precedes the callback.
    pub(super) fn leading(&self, signature: Signature) -> PyResult<Borrowed<'a, 'py, PyAny>> {
        let name = signature.leading.unwrap_or_default();
        self.leading.ok_or_else(|| missing(signature.method, name))
    }

    /// The number in front of the callback; `none` is the error for `None`.
    pub(super) fn number(
        &self,
        signature: Signature,
        none: &'static str,
    ) -> PyResult<Borrowed<'a, 'py, PyAny>> {
        let value = self.leading(signature)?;
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
        if !core.get().shared.traces.is_off() {
            trace_source(&handle)?;
        }
        Ok(handle)
    }
}
