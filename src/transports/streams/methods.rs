//! The methods and the attribute that adopted readers and writers have instead of asyncio's.

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyTuple};

use super::adoption::{Family, families};
use super::call::{self, What};
use super::fields::{Fields, WRITER};
use super::ordinary::forward;
use super::reading::Want;
use crate::ffi::call::method as call_method;
use crate::ffi::fields::{self, field};
use crate::ffi::{Args, adopt, data, downcast, make, method, name, settable};
use crate::scheduler::Core;
use crate::transports::lifecycle::Transport;
use crate::transports::stream::{Stream, write};

type This = PyAny;

method!(
    Read,
    "read",
    "($self, n=-1)",
    "At most `n` bytes, once there is one; without `n`, all bytes until the end.",
    |this, arguments| match count(arguments, "n") {
        Some(count) => read(this, Want::Some(count), "read", arguments),
        None => forward(this, "read", arguments),
    }
);

method!(
    ReadExactly,
    "readexactly",
    "($self, n)",
    "`n` bytes; `IncompleteReadError` if the stream ends before.",
    |this, arguments| match count(arguments, "n") {
        Some(count) => read(this, Want::Exactly(count), "readexactly", arguments),
        None => forward(this, "readexactly", arguments),
    }
);

method!(
    ReadUntil,
    "readuntil",
    "($self, separator=b'\\n')",
    "The bytes up to the separator, with it; `LimitOverrunError` if there are too many.",
    |this, arguments| match separator(arguments) {
        Some(separator) => {
            let separator = separator.unbind();
            read(this, Want::Until(separator), "readuntil", arguments)
        }
        None => forward(this, "readuntil", arguments),
    }
);

method!(
    ReadLine,
    "readline",
    "($self)",
    "The bytes up to a newline, with it; less at the end of the stream.",
    |this, arguments| {
        if arguments.len() > 0 || arguments.has_keywords() {
            return forward(this, "readline", arguments);
        }
        read(this, Want::Line, "readline", arguments)
    }
);

method!(
    Drain,
    "drain",
    "($self)",
    "Wait until the transport's buffer has room.",
    |this, arguments| {
        let py = this.py();
        let has_arguments = arguments.len() > 0 || arguments.has_keywords();
        let is_intact = is_intact(py, |families| &families.writer)?;
        if has_arguments || !is_intact {
            return forward(this, "drain", arguments);
        }
        let event_loop = field!(&adopt::fields(this)?, WRITER, "_loop")?;
        match event_loop.as_ref().and_then(Core::cast) {
            Some(core) if !core.get().is_debug() => call::new(core, this, What::Drain),
            _ => forward(this, "drain", arguments),
        }
    }
);

method!(
    Write,
    "write",
    "($self, data)",
    "Send bytes, now or soon, without blocking.",
    |this, arguments| match (single(arguments), transport_of(this)?) {
        (Some(bytes), Some(Below::Stream(stream))) => {
            let state = data(&stream).state(this.py())?;
            write::write(&stream, &state, &bytes)?;
            Ok(make::none(this.py()))
        }
        (Some(bytes), Some(Below::Other(transport))) => {
            if let Some(families) = families(this.py())
                && let Some(overlay) = families.overlay(this.py())?
                && let Some(done) = (overlay.write)(&transport, &bytes)
            {
                return done.map(|()| make::none(this.py()));
            }
            call_method(&transport, name!(this.py(), "write"), [&bytes])?;
            Ok(make::none(this.py()))
        }
        _ => forward(this, "write", arguments),
    }
);

method!(
    WriteLines,
    "writelines",
    "($self, data)",
    "Send the bytes of each item, in order.",
    |this, arguments| match (single(arguments), transport_of(this)?) {
        (Some(lines), Some(Below::Stream(stream))) => {
            let state = data(&stream).state(this.py())?;
            write::write_lines(&stream, &state, &lines)?;
            Ok(make::none(this.py()))
        }
        _ => forward(this, "writelines", arguments),
    }
);

settable!(
    BufferAttribute,
    c"_buffer",
    |this| {
        let fields = Fields::even_with_others(this)?;
        match fields.array()? {
            Some(array) => Ok(array.into_any()),
            None => fields.buffer()?.ok_or_else(no_buffer),
        }
    },
    |this, value| Fields::even_with_others(this)?.set_buffer(value),
    |this| {
        let is_deleted = Fields::even_with_others(this)?.delete_buffer()?;
        is_deleted.then_some(()).ok_or_else(no_buffer)
    }
);

/// The property `__class__` of adopted readers. A program that gives the reader another class finds the `bytearray`
/// that asyncio's methods need.
pub(super) fn class_property(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let get = PyCFunction::new_closure(py, None, None, |arguments, _| {
        let [reader] = objects(arguments)?;
        PyResult::Ok(reader.get_type().unbind())
    })?;
    let set = PyCFunction::new_closure(py, None, None, |arguments, _| {
        let [reader, class] = objects(arguments)?;
        Fields::even_with_others(&reader)?.array()?;
        adopt::set_class(&reader, &class)
    })?;
    make::import(py, "builtins", "property")?.call1((get, set))
}

fn objects<'py, const N: usize>(
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<[Bound<'py, PyAny>; N]> {
    let given: Vec<_> = arguments.iter().collect();
    given
        .try_into()
        .map_err(|_| PyTypeError::new_err("wrong number of arguments"))
}

fn no_buffer() -> PyErr {
    PyAttributeError::new_err("'StreamReader' object has no attribute '_buffer'")
}

/// The call of a reading method, or asyncio's own coroutine where this is not the usual case.
#[inline]
fn read<'py>(
    this: &Bound<'py, PyAny>,
    want: Want,
    name: &'static str,
    arguments: Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    if is_intact(this.py(), |families| &families.reader)?
        && let Some(fields) = Fields::of(this)?
        && let Some(event_loop) = fields.event_loop()?
        && let Some(core) = Core::cast(&event_loop)
        && !core.get().is_debug()
    {
        return call::new(core, this, What::Read(want));
    }
    forward(this, name, arguments)
}

#[inline]
fn is_intact(
    py: Python<'_>,
    family: impl FnOnce(&super::adoption::Families) -> &Family,
) -> PyResult<bool> {
    families(py).map_or(Ok(false), |families| family(families).is_intact(py))
}

/// The one positive number that a call passes.
#[inline]
fn count(arguments: Args<'_, '_>, keyword: &'static str) -> Option<usize> {
    let given = match (arguments.get(0), arguments.has_keywords()) {
        (Some(given), false) if arguments.len() == 1 => given,
        _ => arguments.named("", [keyword]).ok()?[0]?,
    };
    fields::size(&given).filter(|count| *count > 0)
}

/// The one separator that a call passes, or asyncio's default; `None` unless it is a `bytes` that is not empty.
fn separator<'py>(arguments: Args<'_, 'py>) -> Option<Bound<'py, PyBytes>> {
    let [given] = arguments.named("", ["separator"]).ok()?;
    match given {
        None => make::bytes(arguments.py(), b"\n").ok(),
        Some(given) => {
            let separator = given.to_owned().cast_into_exact::<PyBytes>().ok()?;
            Some(separator).filter(|separator| !separator.as_bytes().is_empty())
        }
    }
}

/// The only argument, by position.
#[inline]
fn single<'py>(arguments: Args<'_, 'py>) -> Option<Bound<'py, PyAny>> {
    let is_one = arguments.len() == 1 && !arguments.has_keywords();
    arguments.get(0).filter(|_| is_one).map(Borrowed::to_owned)
}

/// What the methods of a writer call.
enum Below<'py> {
    /// A stream with no methods but its own.
    Stream(Bound<'py, Stream>),
    Other(Bound<'py, PyAny>),
}

/// `None` if a method of the writer was replaced, or its transport removed.
#[inline]
fn transport_of<'py>(writer: &Bound<'py, PyAny>) -> PyResult<Option<Below<'py>>> {
    let py = writer.py();
    if !is_intact(py, |families| &families.writer)? {
        return Ok(None);
    }
    let transport = field!(&adopt::fields(writer)?, WRITER, "_transport")?;
    Ok(transport.map(|transport| {
        match downcast::<Stream>(&transport).filter(|stream| adopt::has_no_fields(stream)) {
            Some(stream) => Below::Stream(stream.clone()),
            None => Below::Other(transport),
        }
    }))
}
