//! Whether `drain()` has anything to wait for.

use pyo3::prelude::*;

use super::adoption::{Families, families, fields_of_protocol};
use super::fields::{Fields, PROTOCOL, WRITER};
use crate::ffi::fields::{field, is_field};
use crate::ffi::{adopt, data, downcast, name};
use crate::transports::lifecycle::Transport;
use crate::transports::stream::Stream;
use crate::transports::stream::flush::settle;

/// Whether `drain()` of an adopted writer returns at once: no exception of the reader, an open transport, and a
/// protocol that may write. Otherwise asyncio's own method decides.
pub(super) fn has_room(writer: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = writer.py();
    let Some(families) = families(py) else {
        return Ok(false);
    };
    let fields = adopt::fields(writer)?;
    if fields.len() != WRITER.len() {
        return Ok(false);
    }
    let (Some(reader), Some(transport), Some(protocol)) = (
        field!(&fields, WRITER, "_reader")?,
        field!(&fields, WRITER, "_transport")?,
        field!(&fields, WRITER, "_protocol")?,
    ) else {
        return Ok(false);
    };
    Ok(has_no_exception(families, &reader)?
        && is_open(families, &transport)?
        && may_write(&protocol)?)
}

fn has_no_exception(families: &Families, reader: &Bound<'_, PyAny>) -> PyResult<bool> {
    let family = &families.reader;
    if !reader.get_type().is(&family.own) || !family.is_intact(reader.py())? {
        return Ok(reader.is_none());
    }
    match Fields::of(reader)? {
        Some(fields) => Ok(!fields.has_exception()?),
        None => Ok(false),
    }
}

/// `transport.is_closing()`, which also sends what was written.
fn is_open(families: &Families, transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = transport.py();
    if let Some(stream) = downcast::<Stream>(transport) {
        if !adopt::has_no_fields(stream) {
            return Ok(false);
        }
        let state = data(stream).state(py)?;
        settle(stream, &state)?;
        return Ok(state.life.is_open());
    }
    // Asking has no other effect, and asyncio's method may ask again.
    match families.overlay(transport.py())? {
        Some(overlay) => Ok((overlay.is_closing)(transport).transpose()? == Some(false)),
        None => Ok(false),
    }
}

fn may_write(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = protocol.py();
    let Some(fields) = fields_of_protocol(protocol, name!(py, "_drain_helper"))? else {
        return Ok(false);
    };
    Ok(is_field!(&fields, PROTOCOL, "_connection_lost", no)
        && is_field!(&fields, PROTOCOL, "_paused", no))
}
