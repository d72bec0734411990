//! Records through the two `ssl.MemoryBIO` of an `ssl.SSLObject`: the way that every interpreter has.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::session::{Data, Reading, Then, held, rest, snapshot, unless_again};
use crate::ffi::buffer::View;
use crate::ffi::{Visitor, bytes, call, make, name};
use crate::transports::stream_reader::Reader;

/// Both buffers; `None` in them once they are let go of.
#[derive(Debug)]
pub(crate) struct Memory {
    /// What came.
    incoming: RefCell<Py<PyAny>>,
    /// What is to be sent.
    outgoing: RefCell<Py<PyAny>>,
    /// The session holds the beginning of a record.
    partial: Cell<bool>,
}

impl Memory {
    pub(crate) fn new(incoming: Py<PyAny>, outgoing: Py<PyAny>) -> Self {
        Self {
            incoming: RefCell::new(incoming),
            outgoing: RefCell::new(outgoing),
            partial: Cell::new(false),
        }
    }

    /// Decrypts all that came.
    pub(crate) fn read<'py>(
        &self,
        native: &Bound<'py, PyAny>,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<Reading<'py>> {
        let py = native.py();
        let mut records = Records::default();
        let mut then = Then::Wait;
        let mut room = if self.partial.replace(false) {
            RECORD
        } else {
            self.incoming_size(py)?.clamp(1, RECORD)
        };
        loop {
            let Some(record) = read_record(native, room)? else {
                self.partial.set(true);
                break;
            };
            let count = record.as_bytes().len();
            if count == 0 {
                then = Then::End;
                break;
            }
            records.push(record);
            // Less than there was room for: the record is at its end.
            let unread = if count < room { 0 } else { unread(native)? };
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
        let data = records.hand_over(py, reader)?;
        Ok(Reading { data, then })
    }

    /// Decrypts into a buffer of the application's; answers how many bytes.
    pub(crate) fn read_into(
        &self,
        native: &Bound<'_, PyAny>,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<(usize, Then)> {
        let py = native.py();
        let room = buffer.len()?;
        let mut filled = 0;
        let mut target = buffer.clone();
        loop {
            let rest = make::int(py, room - filled)?;
            let name = name!(py, "read");
            let read = call::method(native, name, [rest.as_any(), &target]);
            match unless_again(py, read.and_then(|count| count.extract::<usize>()))? {
                None => return Ok((filled, Then::Wait)),
                Some(0) => return Ok((filled, Then::End)),
                Some(count) => filled += count,
            }
            if filled >= room {
                return Ok((filled, Then::More));
            }
            if self.incoming_size(py)? == 0 && unread(native)? == 0 {
                return Ok((filled, Then::Wait));
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
        let incoming = held(py, &self.incoming);
        call::method(&incoming, name!(py, "write"), [ciphertext]).map(drop)
    }

    /// Whether reading can find anything: to find nothing costs an exception.
    pub(crate) fn has_input(&self, native: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.incoming_size(native.py())? > 0 || unread(native)? > 0)
    }

    pub(crate) fn incoming_size(&self, py: Python<'_>) -> PyResult<usize> {
        size(&held(py, &self.incoming))
    }

    pub(crate) fn take_outgoing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let taken = call::method(&held(py, &self.outgoing), name!(py, "read"), [])?;
        Ok(taken.cast_into()?)
    }

    pub(crate) fn outgoing_size(&self, py: Python<'_>) -> PyResult<usize> {
        size(&held(py, &self.outgoing))
    }

    pub(crate) fn release(&self, py: Python<'_>) {
        for cell in self.cells() {
            let before = cell.replace(py.None());
            drop(before);
        }
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        for cell in self.cells() {
            if let Ok(object) = cell.try_borrow() {
                visitor.object(&object);
            }
        }
    }

    fn cells(&self) -> [&RefCell<Py<PyAny>>; 2] {
        [&self.incoming, &self.outgoing]
    }
}

/// Encrypts as much as the session takes; answers how many bytes.
pub(crate) fn write(native: &Bound<'_, PyAny>, bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = native.py();
    let write_record = |bytes: &Bound<'_, PyAny>| {
        let written = call::method(native, name!(py, "write"), [bytes]);
        unless_again(py, written.and_then(|count| count.extract::<usize>()))
    };
    let total = match bytes.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().len(),
        Err(_) => View::readable(bytes)?.len(),
    };
    let Some(mut done) = write_record(bytes)? else {
        return Ok(0);
    };
    if done == total {
        return Ok(done);
    }
    // More than a record.
    let whole = snapshot(bytes)?;
    while done < total {
        match write_record(&rest(&whole, done)?)? {
            Some(count) => done += count,
            None => break,
        }
    }
    Ok(done)
}

/// Up to `room` decrypted bytes of one record; none at the peer's goodbye, `None` when there is no whole record.
fn read_record<'py>(
    native: &Bound<'py, PyAny>,
    room: usize,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = native.py();
    let room = make::int(py, room)?;
    let read = call::method(native, name!(py, "read"), [room.as_any()]);
    match unless_again(py, read)? {
        Some(bytes) => Ok(Some(bytes.cast_into()?)),
        None => Ok(None),
    }
}

/// Bytes of the current record that are decrypted and not read.
fn unread(native: &Bound<'_, PyAny>) -> PyResult<usize> {
    call::method(native, name!(native.py(), "pending"), [])?.extract()
}

fn size(buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
    buffer.getattr(name!(buffer.py(), "pending"))?.extract()
}

/// What one reading found: nearly always a single record, delivered as it is.
#[derive(Default)]
struct Records<'py> {
    first: Option<Bound<'py, PyBytes>>,
    more: Vec<Bound<'py, PyBytes>>,
}

impl<'py> Records<'py> {
    fn push(&mut self, record: Bound<'py, PyBytes>) {
        if self.first.is_none() {
            self.first = Some(record);
        } else {
            self.more.push(record);
        }
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.first
            .iter()
            .chain(&self.more)
            .map(PyBytesMethods::as_bytes)
    }

    /// Into the reader where there is one, else as one object.
    fn hand_over(self, py: Python<'py>, reader: Option<&Reader<'_>>) -> PyResult<Data<'py>> {
        let Some(first) = &self.first else {
            return Ok(Data::Nothing);
        };
        if let Some(reader) = reader {
            let appended = self
                .slices()
                .try_for_each(|record| bytes::extend(reader.buffer(), record));
            match appended {
                Ok(()) => return Ok(Data::Fed),
                Err(error) if bytes::is_pinned(py, &error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.more.is_empty() {
            return Ok(Data::Bytes(first.clone()));
        }
        let records: Vec<_> = self.slices().collect();
        Ok(Data::Bytes(bytes::joined(py, &records)?))
    }
}

/// What one record can carry.
const RECORD: usize = 16 * 1024;
