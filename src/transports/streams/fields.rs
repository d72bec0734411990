//! The attributes of an adopted reader, under asyncio's names.
//!
//! One differs from asyncio's: `_buffer` may be a `bytes` that was received whole, which a read then returns as it is.
//! Python code does not see it: the class shows a `bytearray` (see `BufferAttribute`).

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict};

use crate::ffi::fields::{self, field, is_field};
use crate::ffi::{adopt, bytes, call, make, name};

/// The attributes of one reader.
#[derive(Debug)]
pub(crate) struct Fields<'py>(Bound<'py, PyDict>);

/// The received bytes that no read has returned.
#[derive(Debug)]
pub(super) enum Received<'py> {
    Bytes(Bound<'py, PyBytes>),
    Array(Bound<'py, PyByteArray>),
}

impl<'py> Fields<'py> {
    /// `None` if the program has given the reader attributes of its own, which may replace methods.
    #[inline]
    pub(crate) fn of(reader: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let fields = adopt::fields(reader)?;
        Ok((fields.len() == READER.len()).then_some(Self(fields)))
    }

    /// Also if the program has given the reader attributes of its own.
    #[inline]
    pub(crate) fn even_with_others(reader: &Bound<'py, PyAny>) -> PyResult<Self> {
        adopt::fields(reader).map(Self)
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.0.py()
    }

    pub(super) fn event_loop(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        unless_none(field!(&self.0, READER, "_loop"))
    }

    #[inline]
    pub(crate) fn has_exception(&self) -> PyResult<bool> {
        Ok(!is_field!(&self.0, READER, "_exception", none)
            && unless_none(field!(&self.0, READER, "_exception"))?.is_some())
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> PyResult<bool> {
        if is_field!(&self.0, READER, "_eof", no) {
            return Ok(false);
        }
        is_true(field!(&self.0, READER, "_eof"))
    }

    #[inline]
    pub(crate) fn is_paused(&self) -> PyResult<bool> {
        if is_field!(&self.0, READER, "_paused", no) {
            return Ok(false);
        }
        is_true(field!(&self.0, READER, "_paused"))
    }

    pub(crate) fn set_paused(&self, paused: bool) -> PyResult<()> {
        let paused = make::boolean(self.0.py(), paused);
        self.0.set_item(name!(self.0.py(), "_paused"), paused)
    }

    pub(crate) fn transport(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        unless_none(field!(&self.0, READER, "_transport"))
    }

    pub(crate) fn forget_transport(&self) -> PyResult<()> {
        let none = make::none(self.0.py());
        self.0.set_item(name!(self.0.py(), "_transport"), none)
    }

    /// `_limit`, in bytes; `None` unless it is an integer of a usual size.
    #[inline]
    pub(crate) fn limit(&self) -> PyResult<Option<usize>> {
        let limit = field!(&self.0, READER, "_limit")?;
        Ok(limit.and_then(|limit| fields::size(&limit)))
    }

    /// `_limit`, whatever it is.
    pub(crate) fn any_limit(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        field!(&self.0, READER, "_limit")
    }

    #[inline]
    pub(crate) fn waiter(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        unless_none(field!(&self.0, READER, "_waiter"))
    }

    #[inline]
    pub(super) fn has_waiter(&self) -> PyResult<bool> {
        Ok(!is_field!(&self.0, READER, "_waiter", none) && self.waiter()?.is_some())
    }

    #[inline]
    pub(crate) fn set_waiter(&self, waiter: &Bound<'py, PyAny>) -> PyResult<()> {
        fields::set(&self.0, name!(self.0.py(), "_waiter"), waiter)
    }

    /// `_waiter = None`
    #[inline]
    pub(crate) fn forget_waiter(&self) -> PyResult<()> {
        if is_field!(&self.0, READER, "_waiter", none) {
            return Ok(()); // Looking is faster than writing.
        }
        self.set_waiter(&make::none(self.0.py()))
    }

    /// `None` if the program has put another object there.
    #[inline]
    pub(super) fn received(&self) -> PyResult<Option<Received<'py>>> {
        let Some(found) = unless_none(self.buffer())? else {
            return Ok(None);
        };
        Ok(match found.cast_into_exact::<PyBytes>() {
            Ok(bytes) => Some(Received::Bytes(bytes)),
            Err(error) => {
                let array = error.into_inner().cast_into_exact().ok();
                array.map(Received::Array)
            }
        })
    }

    /// `_buffer`, whatever it is.
    pub(super) fn buffer(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        field!(&self.0, READER, "_buffer")
    }

    /// `false` if there is none.
    pub(super) fn delete_buffer(&self) -> PyResult<bool> {
        let is_there = self.buffer()?.is_some();
        if is_there {
            self.0.del_item(name!(self.0.py(), "_buffer"))?;
        }
        Ok(is_there)
    }

    pub(super) fn set_buffer(&self, buffer: &Bound<'py, PyAny>) -> PyResult<()> {
        fields::set(&self.0, name!(self.0.py(), "_buffer"), buffer)
    }

    /// Whether the next bytes may be put in place of the buffer, as one object.
    #[inline]
    pub(crate) fn takes_bytes(&self) -> PyResult<bool> {
        let found = unless_none(self.buffer())?;
        Ok(found.is_some_and(|found| {
            let bytes = found.cast_exact::<PyBytes>();
            bytes.is_ok_and(|bytes| bytes.as_bytes().is_empty())
        }))
    }

    /// Puts received bytes in place of the buffer, where [`Fields::takes_bytes`] allowed it.
    #[inline]
    pub(crate) fn put(&self, received: &Bound<'py, PyBytes>) -> PyResult<()> {
        self.set_buffer(received.as_any())
    }

    /// From now on the buffer takes bytes as one object, if it is empty and no other code can have it.
    #[inline]
    pub(super) fn prefer_bytes(&self, received: Received<'py>) -> PyResult<()> {
        if let Received::Array(array) = received
            && array.is_empty()
            && adopt::is_held_once_more(array.as_any())
        {
            self.set_buffer(make::bytes(self.0.py(), b"")?.as_any())?;
        }
        Ok(())
    }

    /// The buffer as Python code sees it: a `bytearray`, which stays in place. `None` if it is another object.
    pub(crate) fn array(&self) -> PyResult<Option<Bound<'py, PyByteArray>>> {
        match self.received()? {
            None => Ok(None),
            Some(Received::Array(array)) => Ok(Some(array)),
            Some(Received::Bytes(bytes)) => self.keep(bytes.as_bytes()).map(Some),
        }
    }

    /// Makes these bytes the buffer.
    fn keep(&self, rest: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
        let array = bytes::array(self.0.py(), rest)?;
        self.set_buffer(array.as_any())?;
        Ok(array)
    }

    /// Removes the first `count` bytes, or all if there are fewer, and returns them.
    #[inline]
    pub(super) fn take(
        &self,
        received: Received<'py>,
        count: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.0.py();
        match received {
            Received::Bytes(bytes) if bytes.as_bytes().len() <= count => {
                self.set_buffer(make::bytes(py, b"")?.as_any())?;
                Ok(bytes.into_any())
            }
            Received::Bytes(bytes) => {
                let (taken, rest) = bytes.as_bytes().split_at(count);
                let taken = make::bytes(py, taken)?;
                self.keep(rest)?;
                Ok(taken.into_any())
            }
            Received::Array(array) => {
                let count = count.min(array.len());
                let taken = adopt::with_contents(&array, |all| make::bytes(py, &all[..count]))?;
                adopt::drop_front(&array, count)?;
                Ok(taken.into_any())
            }
        }
    }

    /// `_maybe_resume_transport()`
    #[inline]
    pub(super) fn maybe_resume(&self) -> PyResult<()> {
        if !self.is_paused()? {
            return Ok(());
        }
        let size = self.received()?.map_or(0, |received| received.len());
        if self.limit()?.is_none_or(|limit| size <= limit) {
            self.set_paused(false)?;
            if let Some(transport) = self.transport()? {
                call::method(&transport, name!(self.0.py(), "resume_reading"), [])?;
            }
        }
        Ok(())
    }
}

impl Received<'_> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes().len(),
            Self::Array(array) => array.len(),
        }
    }

    /// Calls `look` with the bytes.
    #[inline]
    pub(super) fn with<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Bytes(bytes) => look(bytes.as_bytes()),
            Self::Array(array) => adopt::with_contents(array, look),
        }
    }
}

/// The value of an attribute; `None` for Python's `None`, too.
#[inline]
fn unless_none(value: PyResult<Option<Bound<'_, PyAny>>>) -> PyResult<Option<Bound<'_, PyAny>>> {
    Ok(value?.filter(|value| !value.is_none()))
}

/// Whether an attribute is true.
#[inline]
fn is_true(value: PyResult<Option<Bound<'_, PyAny>>>) -> PyResult<bool> {
    value?.map_or(Ok(false), |value| value.is_truthy())
}

/// What `StreamReader.__init__` sets, except in debug mode, in its order.
pub(super) const READER: [&str; 8] = [
    "_limit",
    "_loop",
    "_buffer",
    "_eof",
    "_waiter",
    "_exception",
    "_transport",
    "_paused",
];

/// What `StreamWriter.__init__` sets, in its order.
pub(super) const WRITER: [&str; 5] = [
    "_transport",
    "_protocol",
    "_reader",
    "_loop",
    "_complete_fut",
];

/// What `StreamReaderProtocol.__init__` sets first, in its order.
pub(crate) const PROTOCOL: [&str; 5] = [
    "_loop",
    "_paused",
    "_drain_waiters",
    "_connection_lost",
    "_stream_reader_wr",
];
