//! `bytes` objects that nobody kept, filled again.

#[cfg(not(Py_GIL_DISABLED))]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::make;

/// Keeps the memory of a few `bytes` for the next ones.
///
/// A message of some hundred bytes to a few kilobytes costs its allocation more than its copy: it is too large for
/// Python's own allocator, and beyond 1,032 bytes for glibc's fast lists. Most protocols are done with it when
/// `data_received` returns, or once it was sent back; with the GIL, a count of one says so for certain. Without it
/// counts are split by thread, and nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Room>);

/// A `bytes` and how many bytes its memory has room for; the object may be shorter.
#[derive(Debug)]
struct Room {
    object: Py<PyBytes>,
    capacity: usize,
}

impl Spares {
    /// A `bytes` with these contents, and the room in its memory.
    pub(crate) fn make<'py>(
        &mut self,
        py: Python<'py>,
        contents: &[u8],
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let length = contents.len();
        // One that does not fit goes: the next that is offered will. At most half of it may stay empty.
        if let Some(Room { object, capacity }) = self.0.pop()
            && capacity >= length
            && capacity / 2 <= length
        {
            return Ok((refilled(object.into_bound(py), contents)?, capacity));
        }
        Ok((make::bytes(py, contents)?, length))
    }

    /// Takes an object that the caller is done with, if nobody else holds it. `capacity` is what `make`
    /// said of it, or its length.
    #[inline]
    pub(crate) fn offer(&mut self, object: Bound<'_, PyBytes>, capacity: usize) {
        if cfg!(not(Py_GIL_DISABLED))
            && self.0.len() < KEPT
            && (LEAST..=MOST).contains(&capacity)
            && is_ours_alone(&object)
        {
            self.0.push(Room {
                object: object.unbind(),
                capacity,
            });
        }
    }
}

/// As many as are sent in a row at most, 128 KiB of them.
const KEPT: usize = 32;
/// Below it Python's own allocator has a free block at hand.
const LEAST: usize = 480;
/// The largest message that is copied out of the shared read buffer.
const MOST: usize = 4096;

fn is_ours_alone(object: &Bound<'_, PyBytes>) -> bool {
    // SAFETY: a live object.
    unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// The object with other contents, for which its memory has room.
#[cfg(not(Py_GIL_DISABLED))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "where counts are split by thread, another is made"
)]
fn refilled<'py>(object: Bound<'py, PyBytes>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let raw = object.as_ptr().cast::<ffi::PyBytesObject>();
    // SAFETY: a live `bytes` that nobody else refers to (`offer` made sure, and `Room` has held it since).
    unsafe { (*raw).ob_base.ob_size = contents.len().cast_signed() };
    #[expect(
        deprecated,
        reason = "a remembered hash must be forgotten for as long as there is one"
    )]
    // SAFETY: as above; -1 means that it was not hashed.
    unsafe {
        (*raw).ob_shash = -1;
    };
    // SAFETY: as above; only the address is taken.
    let start = unsafe { (&raw mut (*raw).ob_sval) }.cast::<u8>();
    // SAFETY: `capacity` is at least the length, so the memory has room, and the contents are elsewhere.
    unsafe { start.copy_from_nonoverlapping(contents.as_ptr(), contents.len()) };
    // SAFETY: a `bytes` has one byte more than its capacity.
    let end = unsafe { start.add(contents.len()) };
    // SAFETY: as above: the zero that ends every `bytes`.
    unsafe { end.write(0) };
    Ok(object)
}

#[cfg(Py_GIL_DISABLED)]
fn refilled<'py>(object: Bound<'py, PyBytes>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    make::bytes(object.py(), contents) // Never reached: nothing is kept.
}
