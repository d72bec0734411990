//! The interpreter's own TLS object, called without Python frames.
//!
//! `ssl.SSLObject` is a Python class around a native object that moves bytes between two memory buffers.
//! Its keys, callbacks and policy are those of the user's `ssl.SSLContext`.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyType};

use crate::ffi::{Visitor, call};

/// One TLS session and the two buffers of its ciphertext; `None` in all of them once it is let go of.
#[derive(Debug)]
pub(crate) struct Session {
    /// The `ssl.SSLObject`, for the application.
    object: RefCell<Py<PyAny>>,
    /// Its native half.
    native: RefCell<Py<PyAny>>,
    /// The `ssl.MemoryBIO` of what came.
    incoming: RefCell<Py<PyAny>>,
    /// The `ssl.MemoryBIO` of what is to be sent.
    outgoing: RefCell<Py<PyAny>>,
}

impl Session {
    pub(crate) fn new(
        object: &Bound<'_, PyAny>,
        incoming: Py<PyAny>,
        outgoing: Py<PyAny>,
    ) -> PyResult<Self> {
        let native = object.getattr(intern!(object.py(), "_sslobj"))?;
        Ok(Self {
            object: RefCell::new(object.clone().unbind()),
            native: RefCell::new(native.unbind()),
            incoming: RefCell::new(incoming),
            outgoing: RefCell::new(outgoing),
        })
    }

    pub(super) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        held(py, &self.object)
    }

    /// Goes on with the handshake; `None` when it needs more from the peer.
    pub(super) fn shake_hands(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let done = call::method(&held(py, &self.native), intern!(py, "do_handshake"), []);
        unless_again(py, done.map(drop))
    }

    /// Says goodbye; `None` until the peer has, too.
    pub(super) fn shut_down(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let done = call::method(&held(py, &self.native), intern!(py, "shutdown"), []);
        unless_again(py, done.map(drop))
    }

    /// Up to `room` decrypted bytes of one record; none at the peer's goodbye, `None` when there is no
    /// whole record. Finding that out costs an exception: see [`Session::incoming_size`].
    #[inline]
    pub(super) fn read<'py>(
        &self,
        py: Python<'py>,
        room: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let room = PyInt::new(py, room);
        let read = call::method(
            &held(py, &self.native),
            intern!(py, "read"),
            [room.as_any()],
        );
        match unless_again(py, read)? {
            Some(bytes) => Ok(Some(bytes.cast_into()?)),
            None => Ok(None),
        }
    }

    /// As [`Session::read`], into a buffer of the application's; answers the count.
    pub(super) fn read_into(
        &self,
        room: usize,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<Option<usize>> {
        let py = buffer.py();
        let room = PyInt::new(py, room);
        let native = held(py, &self.native);
        let read = call::method(&native, intern!(py, "read"), [room.as_any(), buffer]);
        unless_again(py, read.and_then(|count| count.extract()))
    }

    /// Bytes of the current record that are decrypted and not read.
    pub(super) fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        call::method(&held(py, &self.native), intern!(py, "pending"), [])?.extract()
    }

    /// Encrypts bytes into the outgoing buffer, a record at most; answers how many, or `None` while the
    /// session must read first.
    #[inline]
    pub(super) fn write(&self, bytes: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let py = bytes.py();
        let written = call::method(&held(py, &self.native), intern!(py, "write"), [bytes]);
        unless_again(py, written.and_then(|count| count.extract()))
    }

    /// Takes ciphertext that came.
    #[inline]
    pub(super) fn feed(&self, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = bytes.py();
        call::method(&held(py, &self.incoming), intern!(py, "write"), [bytes]).map(drop)
    }

    /// Ciphertext that came and was not looked at. While it is zero there is nothing to read.
    #[inline]
    pub(super) fn incoming_size(&self, py: Python<'_>) -> PyResult<usize> {
        size(&held(py, &self.incoming))
    }

    /// All ciphertext that is to be sent.
    #[inline]
    pub(super) fn take_outgoing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let taken = call::method(&held(py, &self.outgoing), intern!(py, "read"), [])?;
        Ok(taken.cast_into()?)
    }

    pub(super) fn outgoing_size(&self, py: Python<'_>) -> PyResult<usize> {
        size(&held(py, &self.outgoing))
    }

    /// Lets go of everything. Only for a session that is over.
    pub(super) fn release(&self, py: Python<'_>) {
        for cell in self.cells() {
            let before = cell.replace(py.None());
            drop(before);
        }
    }

    pub(super) fn traverse(&self, visitor: &mut Visitor) {
        for cell in self.cells() {
            if let Ok(object) = cell.try_borrow() {
                visitor.object(&object);
            }
        }
    }

    fn cells(&self) -> [&RefCell<Py<PyAny>>; 4] {
        [&self.object, &self.native, &self.incoming, &self.outgoing]
    }
}

#[inline]
fn held<'py>(py: Python<'py>, cell: &RefCell<Py<PyAny>>) -> Bound<'py, PyAny> {
    cell.borrow().bind(py).clone()
}

fn size(buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
    buffer.getattr(intern!(buffer.py(), "pending"))?.extract()
}

/// `None` in place of asyncio's `SSLAgainErrors`: the session needs more from the peer.
fn unless_again<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    static WANT_READ: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SYSCALL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.matches(py, WANT_READ.import(py, "ssl", "SSLWantReadError")?)?
                || error.matches(py, SYSCALL.import(py, "ssl", "SSLSyscallError")?)? =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the error is an `ssl.SSLError`.
pub(super) fn is_tls_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, ERROR.import(py, "ssl", "SSLError")?)?)
}

/// Whether the error is about the peer's certificate.
pub(super) fn is_certificate_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, ERROR.import(py, "ssl", "CertificateError")?)?)
}
