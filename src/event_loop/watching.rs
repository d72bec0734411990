//! `add_reader`, `add_writer` and their counterparts: descriptors that the caller owns.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyType};

use super::call::{Call, Signature};
use crate::ffi::handle::{Handle, HandleKind};
use crate::ffi::{
    Args, add_fast_method, call, descriptor, handle_collector, method, missing, name,
};
use crate::scheduler::Core;
use crate::scheduler::watchers::{Side, number_of, unwatch, watch};

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<AddReader>(class)?;
    add_fast_method::<AddWriter>(class)?;
    add_fast_method::<RemoveReader>(class)?;
    add_fast_method::<RemoveWriter>(class)?;
    add_fast_method::<PrivateAddReader>(class)?;
    add_fast_method::<PrivateAddWriter>(class)?;
    add_fast_method::<PrivateRemoveReader>(class)?;
    add_fast_method::<PrivateRemoveWriter>(class)?;
    add_fast_method::<EnsureNoTransport>(class)
}

type This = Core;

method!(
    AddReader,
    "add_reader",
    "($self, fd, callback, *args)",
    "Call `callback(*args)` whenever `fd` is readable; replaces an existing reader.",
    |this, arguments| {
        let signature = Signature::after("add_reader", "fd").without_context();
        add(this, arguments, signature, Side::Reader, Claims::Respected).map(drop)
    }
);

method!(
    AddWriter,
    "add_writer",
    "($self, fd, callback, *args)",
    "Call `callback(*args)` whenever `fd` is writable; replaces an existing writer.",
    |this, arguments| {
        let signature = Signature::after("add_writer", "fd").without_context();
        add(this, arguments, signature, Side::Writer, Claims::Respected).map(drop)
    }
);

method!(
    RemoveReader,
    "remove_reader",
    "($self, fd)",
    "Stop watching `fd` for reading; return whether it was watched.",
    |this, arguments| remove(
        this,
        arguments,
        "remove_reader",
        Side::Reader,
        Claims::Respected
    )
);

method!(
    RemoveWriter,
    "remove_writer",
    "($self, fd)",
    "Stop watching `fd` for writing; return whether it was watched.",
    |this, arguments| remove(
        this,
        arguments,
        "remove_writer",
        Side::Writer,
        Claims::Respected
    )
);

method!(
    PrivateAddReader,
    "_add_reader",
    "($self, fd, callback, *args, context=None)",
    "As `add_reader`, also for the descriptor of a transport; return the handle.",
    |this, arguments| {
        let signature = Signature::after("_add_reader", "fd");
        let handle = add(this, arguments, signature, Side::Reader, Claims::Ignored)?;
        Ok(handle.into_any())
    }
);

method!(
    PrivateAddWriter,
    "_add_writer",
    "($self, fd, callback, *args, context=None)",
    "As `add_writer`, also for the descriptor of a transport; return the handle.",
    |this, arguments| {
        let signature = Signature::after("_add_writer", "fd");
        let handle = add(this, arguments, signature, Side::Writer, Claims::Ignored)?;
        Ok(handle.into_any())
    }
);

method!(
    PrivateRemoveReader,
    "_remove_reader",
    "($self, fd)",
    "As `remove_reader`, also for the descriptor of a transport.",
    |this, arguments| remove(
        this,
        arguments,
        "_remove_reader",
        Side::Reader,
        Claims::Ignored
    )
);

method!(
    PrivateRemoveWriter,
    "_remove_writer",
    "($self, fd)",
    "As `remove_writer`, also for the descriptor of a transport.",
    |this, arguments| remove(
        this,
        arguments,
        "_remove_writer",
        Side::Writer,
        Claims::Ignored
    )
);

method!(
    EnsureNoTransport,
    "_ensure_fd_no_transport",
    "($self, fd)",
    "Raise `RuntimeError` if a live transport owns `fd`.",
    |this, arguments| {
        let fd = only(arguments, "_ensure_fd_no_transport")?;
        let number = number(&fd)?;
        small(&number).map_or(Ok(()), |number| ensure_no_transport(this, number, &fd))
    }
);

/// Whether the descriptor of a transport is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claims {
    Respected,
    Ignored,
}

fn add<'py>(
    this: &Bound<'py, Core>,
    arguments: Args<'_, 'py>,
    signature: Signature,
    side: Side,
    claims: Claims,
) -> PyResult<Bound<'py, Handle>> {
    let call = Call::parse(arguments, signature)?;
    let fd = call.leading(signature)?;
    let number = number(&fd)?;
    let small = small(&number);
    if let (Some(number), Claims::Respected) = (small, claims) {
        ensure_no_transport(this, number, &fd)?;
    }
    this.get().check_closed()?;
    let descriptor = match small {
        Some(small) if small >= 0 && number.is_exact_instance_of::<PyInt>() => small,
        _ => converted(&number)?,
    };
    let handle = call.handle(this, HandleKind::Plain, 0.0)?;
    let object = (!fd.is(&number)).then(|| fd.to_owned().unbind());
    watch(this, descriptor, side, handle.clone().unbind(), object)?;
    if claims == Claims::Ignored {
        handle_collector::track(&handle); // The caller keeps it.
    }
    Ok(handle)
}

fn remove(
    this: &Bound<'_, Core>,
    arguments: Args<'_, '_>,
    method: &str,
    side: Side,
    claims: Claims,
) -> PyResult<bool> {
    let fd = only(arguments, method)?;
    let number = number(&fd)?;
    let small = small(&number);
    if let (Some(number), Claims::Respected) = (small, claims) {
        ensure_no_transport(this, number, &fd)?;
    }
    if this.get().is_closed() {
        return Ok(false);
    }
    let watched_by = match small {
        Some(small) if small >= 0 => Some(small),
        _ => number_before(this, &fd, &number)?,
    };
    watched_by.map_or(Ok(false), |number| unwatch(this, number, side))
}

/// The method's one argument.
fn only<'a, 'py>(arguments: Args<'a, 'py>, method: &str) -> PyResult<Borrowed<'a, 'py, PyAny>> {
    if let (Some(fd), 1, false) = (arguments.get(0), arguments.len(), arguments.has_keywords()) {
        return Ok(fd);
    }
    let [fd] = arguments.named(method, ["fd"])?;
    fd.ok_or_else(|| missing(method, "fd"))
}

/// The number of a descriptor that is given as an `int` or as an object with `fileno()`. Not checked: that of a
/// closed object is negative.
fn number<'py>(fd: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if fd.is_instance_of::<PyInt>() {
        return Ok(fd.clone());
    }
    let py = fd.py();
    let number = call::method(fd, name!(py, "fileno"), []).and_then(|number| {
        if number.is_exact_instance_of::<PyInt>() {
            return Ok(number);
        }
        py.get_type::<PyInt>().call1((number,))
    });
    number.or_else(|error| Err(invalid_object(fd, error)?))
}

/// The error in place of one that asyncio does not pass on.
#[cold]
fn invalid_object(fd: &Bound<'_, PyAny>, error: PyErr) -> PyResult<PyErr> {
    let py = fd.py();
    let is_replaced = error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py);
    if !is_replaced {
        return Ok(error);
    }
    let text = format!("Invalid file object: {}", fd.repr()?);
    Ok(PyValueError::new_err(text))
}

/// The number, unless no descriptor has such a one.
#[inline]
fn small(number: &Bound<'_, PyAny>) -> Option<RawFd> {
    number.extract().ok()
}

/// Converted as in asyncio's selector, by the interpreter: it raises its own error for a number that is too large, and
/// warns about a `bool`.
#[cold]
fn converted(number: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    if number.lt(0)? {
        return Err(invalid_number(number)?);
    }
    descriptor::number(number)
}

/// The number by which an object that is closed now is watched.
#[cold]
fn number_before(
    this: &Bound<'_, Core>,
    fd: &Bound<'_, PyAny>,
    number: &Bound<'_, PyAny>,
) -> PyResult<Option<RawFd>> {
    if number.gt(0)? {
        return Ok(None);
    }
    match number_of(this, fd)? {
        None => Err(invalid_number(number)?),
        found => Ok(found),
    }
}

fn invalid_number(number: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let text = format!("Invalid file descriptor: {}", number.str()?);
    Ok(PyValueError::new_err(text))
}

#[inline]
fn ensure_no_transport(
    this: &Bound<'_, Core>,
    number: RawFd,
    fd: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if this.get().local(this.py())?.claims.contains(number) {
        Err(used(this, number, fd)?)
    } else {
        Ok(())
    }
}

#[cold]
fn used(this: &Bound<'_, Core>, number: RawFd, fd: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let transport = this.get().local(this.py())?.transport_of(this.py(), number);
    let owner = match transport {
        Some(transport) => transport.repr()?.to_string(),
        None => "that is paused".to_owned(),
    };
    let text = format!(
        "File descriptor {} is used by transport {owner}",
        fd.repr()?
    );
    Ok(PyRuntimeError::new_err(text))
}
