//! Records through the two `ssl.MemoryBIO`s of an `ssl.SSLObject`, which works with every interpreter.

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
    /// Ciphertext received.
    incoming: Py<PyAny>,
    /// Ciphertext to be sent.
    outgoing: Py<PyAny>,
    /// Whether the session holds an incomplete record.
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

    /// Decrypts everything received, into the reader if there is one whose buffer may grow.
    pub(crate) fn decrypt<'py>(
        &self,
        py: Python<'py>,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<(Plaintext<'py>, Ending)> {
        let mut records = Chunks::default();
        let mut ending = Ending::Drained;
        // Relaxed: only the loop's thread uses it.
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
            // A short read: the record ends here.
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

    /// Decrypts into the application's buffer; returns the number of bytes.
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
            // Through a view, because slicing a `bytearray` copies.
            let view = call::method(
                PyMemoryView::from(buffer)?.as_any(),
                name!(py, "cast"),
                [name!(py, "B").as_any()],
            )?;
            let rest = make::slice(py, filled, room)?;
            target = view.get_item(rest)?;
        }
    }

    /// Stores received ciphertext for the next read.
    pub(crate) fn feed(&self, ciphertext: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = ciphertext.py();
        call::method(self.incoming.bind(py), name!(py, "write"), [ciphertext]).map(drop)
    }

    /// Whether a read can return anything. An empty read costs an exception.
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

    /// Encrypts as much as the session accepts; returns the number of bytes.
    pub(crate) fn encrypt(&self, bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
        let total = size_of(bytes)?;
        let Some(mut done) = self.write_record(bytes)? else {
            return Ok(0);
        };
        if done == total {
            return Ok(done);
        }
        // Longer than a record: written one record at a time.
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

    /// Up to `room` decrypted bytes of one record: none after the peer's `close_notify`, `None` without a whole record.
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

    /// The number of decrypted bytes of the current record that are unread.
    fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        call::method(self.native(py), name!(py, "pending"), [])?.extract()
    }
}

fn size(buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
    buffer.getattr(name!(buffer.py(), "pending"))?.extract()
}

/// The result of one read: nearly always a single record, which is delivered without a copy.
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

    /// Appends to the reader if there is one whose buffer may grow; otherwise returns one object.
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
