//! The interpreter's own TLS object, called without Python frames.
//!
//! `ssl.SSLObject` is a Python class around a native object, which does the handshake and the shutdown with the keys,
//! callbacks and policy of the user's `ssl.SSLContext`. Records bypass it where possible (`ffi::wire`); otherwise they
//! go through it (`memory_bio`).

use std::cell::RefCell;
use std::collections::TryReserveError;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PyType};

use super::memory_bio::Memory;
use crate::ffi::buffer::{Place, View};
use crate::ffi::wire::{Ending, Wire, no_reason};
use crate::ffi::{Visitor, bytes, call, data, make, name};
use crate::sys::buffer::ReadBuffer;
use crate::transports::lifecycle::Transport;
use crate::transports::stream::{self, Stream};
use crate::transports::stream_reader::Reader;

/// One TLS session. Once released, it holds no bytes, and reading, writing and handshakes fail.
#[derive(Debug)]
pub(crate) struct Session {
    /// The `ssl.SSLObject` that the application sees; `None` once released.
    object: RefCell<Py<PyAny>>,
    layer: RefCell<RecordLayer>,
}

/// How records are encrypted and decrypted.
#[derive(Debug)]
enum RecordLayer {
    Memory(Arc<Memory>),
    Wire(Wire),
    /// Not at all: the session has been released.
    Gone,
}

/// The parameters of a new session.
pub(crate) struct SessionParts<'py> {
    /// The user's `ssl.SSLContext`.
    pub(crate) context: Bound<'py, PyAny>,
    /// The context's `wrap_bio`, with all its arguments bound.
    pub(crate) wrap: Bound<'py, PyAny>,
    /// The two buffers among those arguments.
    pub(crate) incoming: Py<PyAny>,
    pub(crate) outgoing: Py<PyAny>,
    /// Creates the object that the application sees in place of the session's native half.
    pub(crate) guard: Bound<'py, PyAny>,
}

/// The result of decrypting.
pub(crate) enum Plaintext<'py> {
    Nothing,
    Bytes(Bound<'py, PyBytes>),
    /// The bytes are in the reader's buffer.
    Fed,
}

impl Session {
    /// Creates the session; `None` if the context's `wrap_bio` does not return a plain `ssl.SSLObject`.
    pub(crate) fn new(parts: SessionParts<'_>) -> PyResult<Option<Self>> {
        static SSL_OBJECT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = parts.context.py();
        let class = make::imported(&SSL_OBJECT, py, "ssl", "SSLObject")?;
        let made = parts.context.getattr(name!(py, "sslobject_class"));
        if !made.is_ok_and(|made| made.is(class)) {
            return Ok(None);
        }
        let wrap = || {
            let object = parts.wrap.call0()?;
            let native = if object.get_type().is(class) {
                object.getattr(name!(py, "_sslobj"))?
            } else {
                py.None().into_bound(py)
            };
            Ok((object, native))
        };
        let (object, native, wire) = if is_stock(&parts.context)? {
            Wire::tap(py, wrap)?
        } else {
            let (object, native) = wrap()?;
            (object, native, None)
        };
        if !object.get_type().is(class) {
            return Ok(None);
        }
        let layer = if let Some(wire) = wire {
            // `_ssl` releases the GIL and its own lock while it reads or writes, so another thread could enter the
            // session while we use it.
            object.setattr(name!(py, "_sslobj"), parts.guard.call1((native,))?)?;
            RecordLayer::Wire(wire)
        } else {
            let memory = Memory::new(native.unbind(), parts.incoming, parts.outgoing);
            RecordLayer::Memory(Arc::new(memory))
        };
        Ok(Some(Self {
            object: RefCell::new(object.unbind()),
            layer: RefCell::new(layer),
        }))
    }

    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.object.borrow().bind(py).clone()
    }

    /// Whether records bypass `_ssl`.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(*self.layer.borrow(), RecordLayer::Wire(_))
    }

    /// Continues the handshake; `None` if it needs more from the peer.
    pub(crate) fn shake_hands(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let done = call::method(&self.native(py), name!(py, "do_handshake"), []);
        unless_again(py, done.map(drop))
    }

    /// Sends `close_notify`; `None` until the peer's has arrived, too.
    pub(crate) fn shut_down(&self, py: Python<'_>) -> PyResult<Option<()>> {
        if let RecordLayer::Wire(wire) = self.layer(py) {
            wire.wait(py);
        }
        let done = call::method(&self.native(py), name!(py, "shutdown"), []);
        unless_again(py, done.map(drop))
    }

    /// The wire, if [`decrypt_wire`] cannot run Python code.
    #[inline]
    pub(crate) fn quiet_wire(&self, py: Python<'_>) -> Option<Wire> {
        match &*self.layer.borrow() {
            // Before TLS 1.3, a peer may renegotiate, which runs the context's callbacks.
            RecordLayer::Wire(wire) if wire.runs_no_callbacks() => Some(wire.clone_ref(py)),
            _ => None,
        }
    }

    /// Decrypts received ciphertext without running Python code. Returns what must go to [`Session::feed`] instead.
    pub(crate) fn keep<'py>(
        &self,
        py: Python<'py>,
        ciphertext: &[u8],
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match &*self.layer.borrow() {
            RecordLayer::Memory(_) => make::bytes(py, ciphertext).map(Some),
            RecordLayer::Wire(wire) => wire.keep(ciphertext).map(|()| None),
            RecordLayer::Gone => Ok(None),
        }
    }

    /// Stores received ciphertext for the next read.
    pub(crate) fn feed(&self, ciphertext: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.layer(ciphertext.py()) {
            RecordLayer::Memory(memory) => memory.feed(ciphertext),
            RecordLayer::Wire(wire) => {
                wire.keep(View::readable(ciphertext, &mut Place::default())?.bytes())
            }
            RecordLayer::Gone => Ok(()),
        }
    }

    /// Decrypts everything received, into the reader if there is one whose buffer may grow.
    pub(crate) fn decrypt<'py>(
        &self,
        py: Python<'py>,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<(Plaintext<'py>, Ending)> {
        match self.layer(py) {
            RecordLayer::Memory(memory) => memory.decrypt(py, reader),
            RecordLayer::Wire(wire) => decrypt_wire(py, &wire, &[], reader),
            RecordLayer::Gone => Ok((Plaintext::Nothing, Ending::Failed)),
        }
    }

    /// Decrypts into the application's buffer; returns the number of bytes.
    pub(crate) fn decrypt_into(&self, buffer: &Bound<'_, PyAny>) -> PyResult<(usize, Ending)> {
        let py = buffer.py();
        let wire = match self.layer(py) {
            RecordLayer::Memory(memory) => return memory.decrypt_into(buffer),
            RecordLayer::Wire(wire) => wire,
            RecordLayer::Gone => return Ok((0, Ending::Failed)),
        };
        let mut place = Place::default();
        let Ok(mut view) = View::writable(buffer, &mut place) else {
            // `_ssl` rejects it with its own message, before it reads anything.
            let room = make::int(py, buffer.len()?)?;
            call::method(wire.native(py), name!(py, "read"), [room.as_any(), buffer])?;
            return Err(no_reason());
        };
        if view.len() == 0 {
            return Ok((0, Ending::Goodbye)); // As asyncio takes it.
        }
        let mut buffer = view.room();
        let ending = wire.read(py, &[], &mut buffer).map_err(make::no_memory)?;
        Ok((buffer.filled().len(), ending))
    }

    /// Raises the error of a failed read, unless asyncio treats it as "nothing to read".
    pub(crate) fn failure(&self, py: Python<'_>) -> PyResult<()> {
        // A failed session fails again, and `_ssl` raises the reason.
        let one = make::int(py, 1)?;
        let read = call::method(&self.native(py), name!(py, "read"), [one.as_any()]);
        unless_again(py, read.and_then(|_| Err(no_reason()))).map(|_: Option<()>| ())
    }

    /// Reserves room for `count` bytes of plaintext once encrypted. Python's memory buffers grow by themselves.
    pub(crate) fn reserve(&self, count: usize) -> PyResult<()> {
        match &*self.layer.borrow() {
            RecordLayer::Wire(wire) => wire.reserve(count),
            RecordLayer::Memory(_) | RecordLayer::Gone => Ok(()),
        }
    }

    /// Encrypts as much as the session accepts; returns the number of bytes: fewer than all if it must read first.
    ///
    /// `detaches` says whether other threads may run Python during a long encryption.
    pub(crate) fn encrypt(
        &self,
        bytes: &Bound<'_, PyAny>,
        detaches: impl FnOnce() -> bool,
    ) -> PyResult<usize> {
        let py = bytes.py();
        let (done, ending) = match self.layer(py) {
            RecordLayer::Memory(memory) => return memory.encrypt(bytes),
            RecordLayer::Wire(wire) => match bytes.cast_exact::<PyBytes>() {
                Ok(bytes) if bytes.as_bytes().len() > MOST_ATTACHED && detaches() => {
                    wire.write_detached(py, bytes)
                }
                Ok(bytes) => wire.write(py, bytes.as_bytes()),
                Err(_) => wire.write(py, View::readable(bytes, &mut Place::default())?.bytes()),
            },
            RecordLayer::Gone => (0, Ending::Failed),
        };
        if ending != Ending::Drained {
            // A failed session fails again, and `_ssl` raises the reason.
            let rest = rest(bytes, done)?;
            let written = call::method(&self.native(py), name!(py, "write"), [&rest]);
            unless_again(py, written.and_then(|_| Err::<(), _>(no_reason())))?;
        }
        Ok(done)
    }

    /// Whether a read can return anything. An empty read may cost an exception.
    pub(crate) fn has_input(&self, py: Python<'_>) -> PyResult<bool> {
        match self.layer(py) {
            RecordLayer::Memory(memory) => memory.has_input(py),
            RecordLayer::Wire(wire) => Ok(wire.incoming_size() > 0 || wire.unread(py) > 0),
            RecordLayer::Gone => Ok(false),
        }
    }

    /// The number of ciphertext bytes received and not yet read.
    pub(crate) fn incoming_size(&self, py: Python<'_>) -> PyResult<usize> {
        match self.layer(py) {
            RecordLayer::Memory(memory) => memory.incoming_size(py),
            RecordLayer::Wire(wire) => Ok(wire.incoming_size()),
            RecordLayer::Gone => Ok(0),
        }
    }

    /// Moves all ciphertext to be sent to the stream; without a stream, drops it.
    pub(crate) fn send<'py>(
        &self,
        py: Python<'py>,
        stream: impl FnOnce() -> Option<Bound<'py, Stream>>,
    ) -> PyResult<()> {
        match self.layer(py) {
            RecordLayer::Memory(memory) => {
                let ciphertext = memory.take_outgoing(py)?;
                if !ciphertext.as_bytes().is_empty()
                    && let Some(stream) = stream()
                {
                    stream::write::write(&stream, &*data(&stream).state(py)?, &ciphertext)?;
                }
            }
            RecordLayer::Wire(wire) => {
                let ciphertext = wire.take_outgoing()?;
                if !ciphertext.is_empty()
                    && let Some(stream) = stream()
                {
                    stream::write::write_owned(&stream, &*data(&stream).state(py)?, ciphertext)?;
                }
            }
            RecordLayer::Gone => {}
        }
        Ok(())
    }

    pub(crate) fn outgoing_size(&self, py: Python<'_>) -> PyResult<usize> {
        match self.layer(py) {
            RecordLayer::Memory(memory) => memory.outgoing_size(py),
            RecordLayer::Wire(wire) => Ok(wire.outgoing_size()),
            RecordLayer::Gone => Ok(0),
        }
    }

    /// Releases everything. Only for a session that has ended.
    pub(crate) fn release(&self, py: Python<'_>) {
        let object = self.object.replace(py.None());
        let layer = self.layer.replace(RecordLayer::Gone);
        drop((object, layer));
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        if let Ok(object) = self.object.try_borrow() {
            visitor.object(&object);
        }
        if let Ok(layer) = self.layer.try_borrow() {
            match &*layer {
                RecordLayer::Memory(memory) => memory.traverse(visitor),
                RecordLayer::Wire(wire) => wire.traverse(visitor),
                RecordLayer::Gone => {}
            }
        }
    }

    /// A reference of its own to the records' path: Python code may release the session during a call.
    #[inline]
    fn layer(&self, py: Python<'_>) -> RecordLayer {
        match &*self.layer.borrow() {
            RecordLayer::Memory(memory) => RecordLayer::Memory(Arc::clone(memory)),
            RecordLayer::Wire(wire) => RecordLayer::Wire(wire.clone_ref(py)),
            RecordLayer::Gone => RecordLayer::Gone,
        }
    }

    /// The native half of the `ssl.SSLObject`; `None` once released.
    fn native<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &*self.layer.borrow() {
            RecordLayer::Memory(memory) => memory.native(py).clone(),
            RecordLayer::Wire(wire) => wire.native(py).clone(),
            RecordLayer::Gone => py.None().into_bound(py),
        }
    }
}

/// Whether the context's `wrap_bio` is `ssl.SSLContext`'s own and no message callback is set.
fn is_stock(context: &Bound<'_, PyAny>) -> PyResult<bool> {
    static METHODS: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let py = context.py();
    let (name, native_name) = (name!(py, "wrap_bio"), name!(py, "_wrap_bio"));
    let (wrap, native_wrap) = METHODS.get_or_try_init(py, || {
        let class = standard_context(py)?;
        let methods = (class.getattr(name)?, class.getattr(native_name)?);
        Ok::<_, PyErr>((methods.0.unbind(), methods.1.unbind()))
    })?;
    Ok(call::is_method(context, name, wrap.bind(py))?
        && call::is_method(context, native_name, native_wrap.bind(py))?
        && context.getattr(name!(py, "_msg_callback"))?.is_none())
}

/// The standard library's `ssl.SSLContext`, which libraries may replace by classes of their own.
fn standard_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let class = make::import(py, "ssl", "SSLContext")?;
    for base in class.cast::<PyType>()?.mro() {
        if base
            .getattr(name!(py, "__module__"))?
            .eq(name!(py, "ssl"))?
        {
            return Ok(base);
        }
    }
    Ok(class)
}

/// Decrypts the stored ciphertext, then `ciphertext`, into the reader if there is one whose buffer may grow.
pub(super) fn decrypt_wire<'py>(
    py: Python<'py>,
    wire: &Wire,
    mut ciphertext: &[u8],
    reader: Option<&Reader<'_>>,
) -> PyResult<(Plaintext<'py>, Ending)> {
    // A record is longer than its content.
    let most = wire.unread(py) + wire.incoming_size() + ciphertext.len();
    let most = most.max(1);
    let mut ending = Ending::Drained;
    let mut read = |buffer: &mut ReadBuffer<'_>| {
        ending = wire.read(py, std::mem::take(&mut ciphertext), buffer)?;
        Ok::<_, TryReserveError>(())
    };
    // Callbacks could reallocate the reader's buffer.
    if let Some(reader) = reader.filter(|_| wire.runs_no_callbacks()) {
        match bytes::append_into(reader.buffer(), most, &mut read) {
            Ok(count) => {
                let is_fed = count.map_err(make::no_memory)? > 0;
                let plaintext = if is_fed {
                    Plaintext::Fed
                } else {
                    Plaintext::Nothing
                };
                return Ok((plaintext, ending));
            }
            Err(error) if bytes::is_pinned(py, &error) => {}
            Err(error) => return Err(error),
        }
    }
    let (plaintext, count) = bytes::read_into_new(py, most, read)?.map_err(make::no_memory)?;
    let plaintext = if count == 0 {
        Plaintext::Nothing
    } else if append(reader, [plaintext.as_bytes()])? {
        Plaintext::Fed
    } else {
        Plaintext::Bytes(plaintext)
    };
    Ok((plaintext, ending))
}

/// Appends to the reader's buffer; `false` without a reader, and if a `memoryview` pins its size.
pub(super) fn append<'a>(
    reader: Option<&Reader<'_>>,
    records: impl IntoIterator<Item = &'a [u8]>,
) -> PyResult<bool> {
    let Some(reader) = reader else {
        return Ok(false);
    };
    let buffer = reader.buffer();
    let mut records = records.into_iter();
    match records.try_for_each(|record| bytes::extend(buffer, record)) {
        Ok(()) => Ok(true),
        Err(error) if bytes::is_pinned(buffer.py(), &error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The length of an object in bytes.
pub(super) fn size_of(bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
    match bytes.cast_exact::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().len()),
        Err(_) => View::readable(bytes, &mut Place::default()).map(|view| view.len()),
    }
}

/// The same bytes as an immutable object.
pub(crate) fn snapshot<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if bytes.is_exact_instance_of::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let mut place = Place::default();
    let view = View::readable(bytes, &mut place)?;
    Ok(make::bytes(bytes.py(), view.bytes())?.into_any())
}

/// The bytes from `start` on, immutable; copied only if the object is mutable.
pub(crate) fn rest<'py>(bytes: &Bound<'py, PyAny>, start: usize) -> PyResult<Bound<'py, PyAny>> {
    let whole = PyMemoryView::from(&snapshot(bytes)?)?;
    whole.get_item(make::slice(bytes.py(), start, whole.len()?)?)
}

/// Maps asyncio's `SSLAgainErrors`, which say that the session needs more from the peer, to `None`.
pub(crate) fn unless_again<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    static WANT_READ: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SYSCALL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.matches(
                py,
                make::imported(&WANT_READ, py, "ssl", "SSLWantReadError")?,
            )? || error
                .matches(py, make::imported(&SYSCALL, py, "ssl", "SSLSyscallError")?)? =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the error is an `ssl.SSLError`.
pub(crate) fn is_tls_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, make::imported(&ERROR, py, "ssl", "SSLError")?)?)
}

/// Whether the error says that the peer has sent `close_notify`, as a session that has sent its own reports it.
pub(crate) fn is_goodbye(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, make::imported(&ERROR, py, "ssl", "SSLZeroReturnError")?)?)
}

/// Whether the error is about the peer's certificate.
pub(crate) fn is_certificate_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, make::imported(&ERROR, py, "ssl", "CertificateError")?)?)
}

/// Bytes that are encrypted at once while attached: 64 to 128 us, as much as a callback may take. Handing the GIL over and
/// back takes longer than most writes.
const MOST_ATTACHED: usize = 256 * 1024;
