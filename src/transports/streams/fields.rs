//! The attributes of an adopted reader, under asyncio's names.
//!
//! One differs from asyncio's: `_buffer` may be a `bytes` that was received whole, which a read then returns as it is.
//! Python code does not see it: the class shows a `bytearray` (see `BufferAttribute`).

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyString};

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

    /// The value of an attribute; `None` for Python's `None`, too.
    #[inline]
    fn get(&self, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    /// Whether an attribute is true.
    #[inline]
    fn is_true(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        let value = self.0.get_item(name)?;
        value.map_or(Ok(false), |value| value.is_truthy())
    }

    pub(super) fn event_loop(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get(name!(self.0.py(), "_loop"))
    }

    #[inline]
    pub(crate) fn has_exception(&self) -> PyResult<bool> {
        Ok(self.get(name!(self.0.py(), "_exception"))?.is_some())
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> PyResult<bool> {
        self.is_true(name!(self.0.py(), "_eof"))
    }

    #[inline]
    pub(crate) fn is_paused(&self) -> PyResult<bool> {
        self.is_true(name!(self.0.py(), "_paused"))
    }

    pub(crate) fn set_paused(&self, paused: bool) -> PyResult<()> {
        let paused = make::boolean(self.0.py(), paused);
        self.0.set_item(name!(self.0.py(), "_paused"), paused)
    }

    pub(crate) fn transport(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get(name!(self.0.py(), "_transport"))
    }

    pub(crate) fn forget_transport(&self) -> PyResult<()> {
        let none = make::none(self.0.py());
        self.0.set_item(name!(self.0.py(), "_transport"), none)
    }

    /// `_limit`, in bytes; `None` unless it is an integer of a usual size.
    #[inline]
    pub(crate) fn limit(&self) -> PyResult<Option<usize>> {
        let limit = self.get(name!(self.0.py(), "_limit"))?;
        Ok(limit.and_then(|limit| limit.cast_exact::<PyInt>().ok()?.extract().ok()))
    }

    /// `_limit`, whatever it is.
    pub(crate) fn any_limit(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.get_item(name!(self.0.py(), "_limit"))
    }

    #[inline]
    pub(crate) fn waiter(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.get(name!(self.0.py(), "_waiter"))
    }

    #[inline]
    pub(crate) fn set_waiter(&self, waiter: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        let name = name!(self.0.py(), "_waiter");
        match waiter {
            Some(waiter) => self.0.set_item(name, waiter),
            None => self.0.set_item(name, make::none(self.0.py())),
        }
    }

    /// `None` if the program has put another object there.
    #[inline]
    pub(super) fn received(&self) -> PyResult<Option<Received<'py>>> {
        let Some(found) = self.get(name!(self.0.py(), "_buffer"))? else {
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
        self.0.get_item(name!(self.0.py(), "_buffer"))
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
        self.0.set_item(name!(self.0.py(), "_buffer"), buffer)
    }

    /// Whether the next bytes may be put in place of the buffer, as one object.
    #[inline]
    pub(crate) fn takes_bytes(&self) -> PyResult<bool> {
        let found = self.get(name!(self.0.py(), "_buffer"))?;
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

/// What `StreamReader.__init__` sets, except in debug mode.
pub(super) const READER: [&str; 8] = [
    "_buffer",
    "_eof",
    "_exception",
    "_limit",
    "_loop",
    "_paused",
    "_transport",
    "_waiter",
];

/// What `StreamWriter.__init__` sets.
pub(super) const WRITER: [&str; 5] = [
    "_complete_fut",
    "_loop",
    "_protocol",
    "_reader",
    "_transport",
];
