//! A fast path into asyncio's own `StreamReader`.
//!
//! It does what `StreamReader.feed_data` does, without Python frames and an intermediate `bytes`. It is taken only
//! while protocol and reader are exactly asyncio's and unmodified; it does not change asyncio.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyInt, PyWeakrefReference};

use super::streams::adoption;
use super::streams::fields::{Fields, PROTOCOL};
use crate::ffi::fields::field;
use crate::ffi::{call, make, name};
use crate::scheduler::{Core, is_exit};

/// How the reader behind a protocol takes received bytes.
#[derive(Debug)]
pub(crate) enum Target<'py> {
    /// They are appended to its buffer.
    Buffer(Reader<'py>),
    /// They become its buffer, as one object.
    Whole(Taker<'py>),
}

/// A reader that can be fed natively.
#[derive(Debug)]
pub(crate) struct Reader<'py> {
    object: Bound<'py, PyAny>,
    /// The attributes of an adopted reader.
    fields: Option<Fields<'py>>,
    buffer: Bound<'py, PyByteArray>,
}

/// An adopted reader whose buffer is empty, and seen by no other code.
#[derive(Debug)]
pub(crate) struct Taker<'py>(Fields<'py>);

impl<'py> Target<'py> {
    /// The reader behind `protocol`, or `None` where `feed_data` must be called.
    #[inline]
    pub(crate) fn of(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        or_feed_data(protocol.py(), Self::find(protocol))
    }

    #[inline]
    fn find(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Some(object) = stock_reader_of(protocol)? else {
            return Ok(None);
        };
        if !adoption::is_adopted(&object) {
            return Ok(Reader::plain(object)?.map(Self::Buffer));
        }
        let Some(fields) = adoption::fields_if_intact(&object)? else {
            return Ok(None);
        };
        if fields.takes_bytes()? && !fields.is_at_end()? {
            return Ok(Some(Self::Whole(Taker(fields))));
        }
        Ok(Reader::adopted(object, fields)?.map(Self::Buffer))
    }

    /// The reader whose buffer the bytes are appended to.
    pub(crate) fn reader(&self) -> Option<&Reader<'py>> {
        match self {
            Self::Buffer(reader) => Some(reader),
            Self::Whole(_) => None,
        }
    }
}

impl<'py> Reader<'py> {
    /// The reader behind `protocol`, or `None` where `feed_data` must be called.
    pub(crate) fn of(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        or_feed_data(protocol.py(), Self::find(protocol))
    }

    fn find(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let Some(object) = stock_reader_of(protocol)? else {
            return Ok(None);
        };
        if !adoption::is_adopted(&object) {
            return Self::plain(object);
        }
        match adoption::fields_if_intact(&object)? {
            Some(fields) => Self::adopted(object, fields),
            None => Ok(None),
        }
    }

    /// A reader whose attributes are reached directly.
    #[inline]
    fn adopted(object: Bound<'py, PyAny>, fields: Fields<'py>) -> PyResult<Option<Self>> {
        let buffer = fields.array()?;
        if fields.is_at_end()? {
            return Ok(None);
        }
        Ok(buffer.map(|buffer| Self {
            object,
            fields: Some(fields),
            buffer,
        }))
    }

    fn plain(object: Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        static FEED_DATA: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static READER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = object.py();
        let class = make::imported(&READER, py, "asyncio.streams", "StreamReader")?;
        if !object.get_type().is(class) {
            return Ok(None);
        }
        let feed_data = stock(py, &FEED_DATA, "StreamReader", "feed_data")?;
        if !call::is_method(&object, name!(py, "feed_data"), feed_data)? {
            return Ok(None);
        }
        let at_end = object.getattr(name!(py, "_eof"))?.is_truthy()?;
        let buffer = object
            .getattr(name!(py, "_buffer"))?
            .cast_into_exact::<PyByteArray>()
            .ok();
        Ok(buffer.filter(|_| !at_end).map(|buffer| Self {
            object,
            fields: None,
            buffer,
        }))
    }

    /// The buffer for received bytes.
    pub(crate) fn buffer(&self) -> &Bound<'py, PyByteArray> {
        &self.buffer
    }

    /// To be called after bytes were appended: wakes the waiting task, and pauses reading if there are too many.
    pub(crate) fn fed(&self) -> PyResult<()> {
        let size = self.buffer.len();
        if let Some(fields) = &self.fields {
            return wake(fields, size);
        }
        let py = self.object.py();
        let name = name!(py, "_waiter");
        let waiter = self.object.getattr(name)?;
        if !waiter.is_none() {
            self.object.setattr(name, py.None())?;
            set_result(&waiter)?;
        }
        let limit = self.object.getattr(name!(py, "_limit"))?;
        let limit = limit.cast_exact::<PyInt>().map(|limit| limit.extract());
        match limit {
            Ok(Ok(limit)) if size <= usize::saturating_mul(limit, 2) => Ok(()),
            _ => pause(&Fields::even_with_others(&self.object)?, size),
        }
    }
}

impl<'py> Taker<'py> {
    /// Passes all received bytes, wakes the waiting task, and pauses reading if there are too many.
    #[inline]
    pub(crate) fn take(&self, received: &Bound<'py, PyBytes>) -> PyResult<()> {
        self.0.put(received)?;
        wake(&self.0, received.as_bytes().len())
    }
}

/// Without the error of a look-up: calling `feed_data` raises it too, where asyncio reports it.
#[inline]
fn or_feed_data<T>(py: Python<'_>, found: PyResult<Option<T>>) -> PyResult<Option<T>> {
    match found {
        Err(error) if !is_exit(py, &error) => Ok(None),
        found => found,
    }
}

/// Wakes the task that waits for an adopted reader, whose buffer has this size, and pauses reading if it is too much.
#[inline]
fn wake(fields: &Fields<'_>, size: usize) -> PyResult<()> {
    if let Some(waiter) = fields.waiter()? {
        fields.set_waiter(&make::none(fields.py()))?;
        set_result(&waiter)?;
    }
    match fields.limit()? {
        Some(limit) if size <= limit.saturating_mul(2) => Ok(()),
        _ => pause(fields, size),
    }
}

/// Pauses the reader's transport if the buffer's size is over the limit. That is not always the transport that delivers:
/// before Python 3.14, a stream upgraded to TLS keeps its first one, and the reader resumes what it has paused.
#[cold]
fn pause(fields: &Fields<'_>, size: usize) -> PyResult<()> {
    let py = fields.py();
    let Some(transport) = fields.transport()? else {
        return Ok(());
    };
    let is_over = match fields.any_limit()? {
        Some(limit) => is_over(size, &limit)?,
        None => false,
    };
    if fields.is_paused()? || !is_over {
        return Ok(());
    }
    match call::method(&transport, name!(py, "pause_reading"), []) {
        Ok(_) => fields.set_paused(true),
        Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
            fields.forget_transport()
        }
        Err(error) => Err(error),
    }
}

/// `if not waiter.cancelled(): waiter.set_result(None)`
#[inline]
fn set_result(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    static FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = waiter.py();
    let future = make::imported(&FUTURE, py, "asyncio.futures", "Future")?;
    let set = || call::method(waiter, name!(py, "set_result"), [py.None().bind(py)]);
    let is_cancelled =
        || call::method(waiter, name!(py, "cancelled"), []).and_then(|answer| answer.is_truthy());
    if waiter.get_type().is(future) {
        // Refuses, and changes nothing, if it was cancelled: rarely, so that is asked afterwards.
        return match set() {
            Err(_) if is_cancelled()? => Ok(()),
            result => result.map(drop),
        };
    }
    if !is_cancelled()? {
        set()?;
    }
    Ok(())
}

/// The reader that a protocol with asyncio's own `data_received` feeds, if it lives.
#[inline]
fn stock_reader_of<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = protocol.py();
    let name = name!(py, "_stream_reader_wr");
    let reference = match adoption::fields_of_protocol(protocol, name!(py, "data_received"))? {
        Some(fields) => field!(&fields, PROTOCOL, "_stream_reader_wr")?,
        None if has_stock_data_received(protocol)? => Some(protocol.getattr(name)?),
        None => None,
    };
    let Some(reference) = reference.filter(|reference| !reference.is_none()) else {
        return Ok(None);
    };
    match reference.cast::<PyWeakrefReference>() {
        Ok(reference) => Ok(reference.upgrade()),
        Err(_) => reference.call0().map(Some),
    }
}

fn has_stock_data_received(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    static DATA_RECEIVED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    let data_received = stock(py, &DATA_RECEIVED, "StreamReaderProtocol", "data_received")?;
    call::is_method(protocol, name!(py, "data_received"), data_received)
}

/// Gives the protocol's reader native methods, if it is asyncio's own.
#[cold]
pub(crate) fn adopt(core: &Bound<'_, Core>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    match or_feed_data(core.py(), stock_reader_of(protocol))? {
        Some(reader) => adoption::adopt_reader(core, protocol, &reader),
        None => Ok(()),
    }
}

/// `size > 2 * limit` for any limit that Python can compare: a float, infinity, an integer that no word can hold.
#[cold]
fn is_over(size: usize, limit: &Bound<'_, PyAny>) -> PyResult<bool> {
    let two = make::int(limit.py(), 2)?;
    make::int(limit.py(), size)?.gt(two.mul(limit)?)
}

/// A function of asyncio's, as it was at the first look-up.
fn stock<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    class: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let function = cell.get_or_try_init(py, || {
        let class = make::import(py, "asyncio.streams", class)?;
        class.getattr(name).map(Bound::unbind)
    })?;
    Ok(function.bind(py))
}
