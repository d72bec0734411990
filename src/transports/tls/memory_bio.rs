//! Records through the two `ssl.MemoryBIO` of an `ssl.SSLObject`: the way that every interpreter has.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::session::{Plaintext, append, rest, size_of, snapshot, unless_again};
use crate::ffi::wire::{Ending, RECORD};
use crate::ffi::{Visitor, bytes, call, make, name};
use crate::transports::stream_reader::Reader;

/// The native half of an `ssl.SSLObject`, and its buffers.
#[derive(Debug)]
pub(crate) struct Memory {
    native: Py<PyAny>,
    /// What came.
    incoming: Py<PyAny>,
    /// What is to be sent.
    outgoing: Py<PyAny>,
    /// The session holds the beginning of a record.
    partial: AtomicBool,
}

impl Memory {
    pub(crate) fn new(native: Py<PyAny>, incoming: Py<PyAny>, outgoing: Py<PyAny>) -> Self {
        Self {
            native,
            incoming,
            outgoing,
            partial: AtomicBool::new(false),
        }
    }

    pub(crate) fn native<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.native.bind(py)
    }

    /// Decrypts all that came: into the reader where there is one and its buffer may grow.
    pub(crate) fn decrypt<'py>(
        &self,
        py: Python<'py>,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<(Plaintext<'py>, Ending)> {
        let mut records = Chunks::default();
        let mut ending = Ending::Drained;
        // Relaxed: it is used on the loop's thread alone.
        let mut room = if self.partial.swap(false, Ordering::Relaxed) {
            RECORD
        } else {
            self.incoming_size(py)?.clamp(1, RECORD)
        };
        loop {
            let Some(record) = self.read_record(py, room)? else {
                self.partial.store(true, Ordering::Relaxed);
                break;
            };
            let count = record.as_bytes().len();
            if count == 0 {
                ending = Ending::Goodbye;
                break;
            }
            records.push(record);
            // Less than there was room for: the record is at its end.
            let unread = if count < room { 0 } else { self.unread(py)? };
            let left = if unread > 0 {
                unread
            } else {
                self.incoming_size(py)?
            };
            if left == 0 {
                break;
            }
            room = left.min(RECORD);
        }
        Ok((records.hand_over(py, reader)?, ending))
    }

    /// Decrypts into a buffer of the application's; returns how many bytes.
    pub(crate) fn decrypt_into(&self, buffer: &Bound<'_, PyAny>) -> PyResult<(usize, Ending)> {
        let py = buffer.py();
        let room = buffer.len()?;
        let mut filled = 0;
        let mut target = buffer.clone();
        loop {
            let rest = make::int(py, room - filled)?;
            let name = name!(py, "read");
            let read = call::method(self.native(py), name, [rest.as_any(), &target]);
            match unless_again(py, read.and_then(|count| count.extract::<usize>()))? {
                None => return Ok((filled, Ending::Drained)),
                Some(0) => return Ok((filled, Ending::Goodbye)),
                Some(count) => filled += count,
            }
            if filled >= room {
                return Ok((filled, Ending::Full));
            }
            if !self.has_input(py)? {
                return Ok((filled, Ending::Drained));
            }
            // By a view: a slice of a `bytearray` would be a copy.
            let view = call::method(
                PyMemoryView::from(buffer)?.as_any(),
                name!(py, "cast"),
                [name!(py, "B").as_any()],
            )?;
            let rest = make::slice(py, filled, room)?;
            target = view.get_item(rest)?;
        }
    }

    /// Takes ciphertext that came.
    pub(crate) fn feed(&self, ciphertext: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = ciphertext.py();
        call::method(self.incoming.bind(py), name!(py, "write"), [ciphertext]).map(drop)
    }

    /// Whether reading can find anything: to find nothing costs an exception.
    pub(crate) fn has_input(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.incoming_size(py)? > 0 || self.unread(py)? > 0)
    }

    pub(crate) fn incoming_size(&self, py: Python<'_>) -> PyResult<usize> {
        size(self.incoming.bind(py))
    }

    pub(crate) fn take_outgoing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let taken = call::method(self.outgoing.bind(py), name!(py, "read"), [])?;
        Ok(taken.cast_into()?)
    }

    pub(crate) fn outgoing_size(&self, py: Python<'_>) -> PyResult<usize> {
        size(self.outgoing.bind(py))
    }

    /// Encrypts as much as the session takes; returns how many bytes.
    pub(crate) fn encrypt(&self, bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
        let total = size_of(bytes)?;
        let Some(mut done) = self.write_record(bytes)? else {
            return Ok(0);
        };
        if done == total {
            return Ok(done);
        }
        // More than a record.
        let whole = snapshot(bytes)?;
        while done < total
            && let Some(count) = self.write_record(&rest(&whole, done)?)?
        {
            done += count;
        }
        Ok(done)
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        for object in [&self.native, &self.incoming, &self.outgoing] {
            visitor.object(object);
        }
    }

    /// Up to `room` decrypted bytes of one record; none at the peer's goodbye, `None` when there is no whole record.
    fn read_record<'py>(
        &self,
        py: Python<'py>,
        room: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let room = make::int(py, room)?;
        let read = call::method(self.native(py), name!(py, "read"), [room.as_any()]);
        match unless_again(py, read)? {
            Some(bytes) => Ok(Some(bytes.cast_into()?)),
            None => Ok(None),
        }
    }

    fn write_record(&self, bytes: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let py = bytes.py();
        let written = call::method(self.native(py), name!(py, "write"), [bytes]);
        unless_again(py, written.and_then(|count| count.extract::<usize>()))
    }

    /// Bytes of the current record that are decrypted and not read.
    fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        call::method(self.native(py), name!(py, "pending"), [])?.extract()
    }
}

fn size(buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
    buffer.getattr(name!(buffer.py(), "pending"))?.extract()
}

/// What one reading found: nearly always a single record, which is delivered as it is.
#[derive(Default)]
struct Chunks<'py> {
    first: Option<Bound<'py, PyBytes>>,
    more: Vec<Bound<'py, PyBytes>>,
}

impl<'py> Chunks<'py> {
    fn push(&mut self, record: Bound<'py, PyBytes>) {
        if self.first.is_none() {
            self.first = Some(record);
        } else {
            self.more.push(record);
        }
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let records = self.first.iter().chain(&self.more);
        records.map(PyBytesMethods::as_bytes)
    }

    /// Into the reader where there is one and its buffer may grow, else as one object.
    fn hand_over(self, py: Python<'py>, reader: Option<&Reader<'_>>) -> PyResult<Plaintext<'py>> {
        match &self.first {
            None => Ok(Plaintext::Nothing),
            Some(_) if append(reader, self.slices())? => Ok(Plaintext::Fed),
            Some(first) if self.more.is_empty() => Ok(Plaintext::Bytes(first.clone())),
            Some(_) => {
                let records: Vec<_> = self.slices().collect();
                bytes::joined(py, &records).map(Plaintext::Bytes)
            }
        }
    }
}
