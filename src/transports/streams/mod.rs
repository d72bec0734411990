//! asyncio's own streams with native methods, over stream transports.
//!
//! asyncio is not changed: single objects are given a subclass of their class (`adoption`), whose methods (`methods`)
//! work on the attributes that asyncio's methods work on (`fields`).

pub(super) mod adoption;
mod call;
mod call_state;
mod draining;
pub(super) mod fields;
mod methods;
mod ordinary;
mod reading;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::{add_fast_attribute, add_fast_method, adopt, make};
use adoption::Family;
pub(super) use adoption::Overlay;
pub(super) use call::StreamCall;

/// Makes the subclasses; `overlay` is the other transport under streams. Does nothing if a program has changed asyncio's
/// classes before.
pub(super) fn prepare(py: Python<'_>, overlay: Overlay) -> PyResult<()> {
    adoption::found(py, overlay, || {
        let (reader, writer) = (class(py, "StreamReader")?, class(py, "StreamWriter")?);
        let protocol = class(py, "StreamReaderProtocol")?;
        let families = [
            Family::new(&reader, &reader_class(&reader)?, &READER)?,
            Family::new(&writer, &writer_class(&writer)?, &WRITER)?,
            Family::new(&protocol, &adopt::derive(&protocol, &[])?, &PROTOCOL)?,
        ];
        let [Some(reader), Some(writer), Some(protocol)] = families else {
            return Ok(None);
        };
        Ok(Some([reader, writer, protocol]))
    })
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(make::import(py, "asyncio.streams", name)?.cast_into()?)
}

fn reader_class<'py>(base: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let class = adopt::derive(base, &[("__class__", methods::class_property(base.py())?)])?;
    add_fast_method::<methods::Read>(&class)?;
    add_fast_method::<methods::ReadExactly>(&class)?;
    add_fast_method::<methods::ReadUntil>(&class)?;
    add_fast_method::<methods::ReadLine>(&class)?;
    add_fast_attribute::<methods::BufferAttribute>(&class)?;
    Ok(class)
}

fn writer_class<'py>(base: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    let class = adopt::derive(base, &[])?;
    add_fast_method::<methods::Write>(&class)?;
    add_fast_method::<methods::WriteLines>(&class)?;
    add_fast_method::<methods::Drain>(&class)?;
    Ok(class)
}

/// The methods that ours stand for, and those that asyncio's call on the same object.
const READER: [&str; 9] = [
    "_maybe_resume_transport",
    "_wait_for_data",
    "_wakeup_waiter",
    "exception",
    "feed_data",
    "read",
    "readexactly",
    "readline",
    "readuntil",
];
const WRITER: [&str; 3] = ["drain", "write", "writelines"];
const PROTOCOL: [&str; 2] = ["_drain_helper", "data_received"];
