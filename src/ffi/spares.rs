//! Reuses `bytes` objects that no other code kept.

#[cfg(not(Py_GIL_DISABLED))]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::make;

/// Keeps the memory of a few `bytes` for later ones.
///
/// For a message of some hundred bytes to a few kilobytes, the allocation costs more than the copy: it is too large
/// for Python's own allocator, and beyond 1,032 bytes too large for glibc's fast lists. Most protocols release it
/// when `data_received` returns, or once it was sent back; with the GIL, a reference count of one proves that. On
/// free-threaded builds counts are split by thread, and nothing is kept.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Room>);

/// A `bytes`, and how many bytes its memory holds; the object may be shorter.
#[derive(Debug)]
struct Room {
    object: Py<PyBytes>,
    capacity: usize,
}

impl Spares {
    /// A `bytes` with these contents, and the capacity of its memory.
    pub(crate) fn make<'py>(
        &mut self,
        py: Python<'py>,
        contents: &[u8],
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let length = contents.len();
        // If it does not fit, it is dropped; a later offer replaces it. At most half of its memory may stay unused.
        if let Some(Room { object, capacity }) = self.0.pop()
            && capacity >= length
            && capacity / 2 <= length
        {
            return Ok((refilled(object.into_bound(py), contents)?, capacity));
        }
        Ok((make::bytes(py, contents)?, length))
    }

    /// Takes an object that the caller has finished with, unless there are other references. `capacity` is the one
    /// that `make` returned with it, or its length.
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

/// The most that are sent in a row; 128 KiB in total.
const KEPT: usize = 32;
/// The smallest kept: below it, Python's own allocator has a free block ready.
const LEAST: usize = 480;
/// The largest kept: larger messages are not copied out of the shared read buffer.
const MOST: usize = 4096;

fn is_ours_alone(object: &Bound<'_, PyBytes>) -> bool {
    // SAFETY: a live object.
    unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// The object with new contents, which fit its memory.
#[cfg(not(Py_GIL_DISABLED))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "free-threaded builds create a new object, which may fail"
)]
fn refilled<'py>(object: Bound<'py, PyBytes>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let raw = object.as_ptr().cast::<ffi::PyBytesObject>();
    // SAFETY: a live `bytes` without other references (`offer` checked that, and `Room` has held it since).
    unsafe { (*raw).ob_base.ob_size = contents.len().cast_signed() };
    #[expect(
        deprecated,
        reason = "the cached hash must be cleared as long as the field exists"
    )]
    // SAFETY: as above; -1 means that the hash is not computed.
    unsafe {
        (*raw).ob_shash = -1;
    };
    // SAFETY: as above; this only takes an address.
    let start = unsafe { (&raw mut (*raw).ob_sval) }.cast::<u8>();
    // SAFETY: `capacity` is at least the length, so the memory has room, and the contents are elsewhere.
    unsafe { start.copy_from_nonoverlapping(contents.as_ptr(), contents.len()) };
    // SAFETY: the memory of a `bytes` has one byte more than its capacity.
    let end = unsafe { start.add(contents.len()) };
    // SAFETY: as above: the zero byte that ends every `bytes`.
    unsafe { end.write(0) };
    Ok(object)
}

#[cfg(Py_GIL_DISABLED)]
fn refilled<'py>(object: Bound<'py, PyBytes>, contents: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    make::bytes(object.py(), contents) // Never reached: nothing is kept.
}
