//! A fast path into asyncio's own `StreamReader`.
//!
//! It does what `StreamReader.feed_data` does, without Python frames and an intermediate `bytes`. It is taken only
//! while protocol and reader are exactly asyncio's and unmodified; it does not change asyncio.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyInt};

use crate::ffi::{call, make, name};
use crate::scheduler::is_exit;

/// A reader that can be fed natively.
#[derive(Debug)]
pub(crate) struct Reader<'py> {
    object: Bound<'py, PyAny>,
    buffer: Bound<'py, PyByteArray>,
}

impl<'py> Reader<'py> {
    /// The reader behind `protocol`, or `None` where `feed_data` must be called.
    pub(crate) fn of(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        match Self::find(protocol) {
            // Calling `feed_data` raises it too, where asyncio reports it.
            Err(error) if !is_exit(protocol.py(), &error) => Ok(None),
            found => found,
        }
    }

    fn find(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        static DATA_RECEIVED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static FEED_DATA: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static READER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = protocol.py();
        let data_received = stock(py, &DATA_RECEIVED, "StreamReaderProtocol", "data_received")?;
        if !call::is_method(protocol, name!(py, "data_received"), data_received)? {
            return Ok(None);
        }
        let object = protocol.getattr(name!(py, "_stream_reader_wr"))?;
        if object.is_none() {
            return Ok(None);
        }
        let object = object.call0()?;
        if !object.get_type().is(make::imported(
            &READER,
            py,
            "asyncio.streams",
            "StreamReader",
        )?) {
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
        Ok(buffer
            .filter(|_| !at_end)
            .map(|buffer| Self { object, buffer }))
    }

    /// The buffer for received bytes.
    pub(crate) fn buffer(&self) -> &Bound<'py, PyByteArray> {
        &self.buffer
    }

    /// To be called after bytes were appended: wakes the waiting task. `true` when the transport must pause.
    pub(crate) fn fed(&self) -> PyResult<bool> {
        let py = self.object.py();
        let name = name!(py, "_waiter");
        let waiter = self.object.getattr(name)?;
        if !waiter.is_none() {
            self.object.setattr(name, py.None())?;
            if !call::method(&waiter, name!(py, "cancelled"), [])?.is_truthy()? {
                call::method(&waiter, name!(py, "set_result"), [py.None().bind(py)])?;
            }
        }
        let limit = self.object.getattr(name!(py, "_limit"))?;
        let size = self.buffer.len();
        match limit.cast_exact::<PyInt>().map(|limit| limit.extract()) {
            Ok(Ok(limit)) => {
                let limit: usize = limit;
                if size <= limit.saturating_mul(2) {
                    return Ok(false);
                }
                self.may_pause()
            }
            _ => Ok(self.may_pause()? && is_over(size, &limit)?),
        }
    }

    fn may_pause(&self) -> PyResult<bool> {
        let py = self.object.py();
        let has_transport = !self.object.getattr(name!(py, "_transport"))?.is_none();
        Ok(has_transport && !self.object.getattr(name!(py, "_paused"))?.is_truthy()?)
    }

    /// Marks the transport as paused by this reader, which resumes it.
    pub(crate) fn set_paused(&self) -> PyResult<()> {
        self.object
            .setattr(name!(self.object.py(), "_paused"), true)
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
