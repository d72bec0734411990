//! The interpreter's own TLS object, called without Python frames.
//!
//! `ssl.SSLObject` is a Python class around a native object, which shakes hands and says goodbye. Its keys, callbacks and
//! policy are those of the user's `ssl.SSLContext`. Records go past it where they can (`ffi::wire`), else through it
//! (`memory_bio`).

use std::cell::RefCell;
use std::convert::Infallible;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PyType};

use super::memory_bio::{self, Memory};
use crate::ffi::buffer::View;
use crate::ffi::wire::{Ending, Wire, no_reason};
use crate::ffi::{Visitor, bytes, call, make, name};
use crate::sys::buffer::ReadBuffer;
use crate::transports::stream_reader::Reader;

/// One TLS session; `None` in its cells once it is let go of.
#[derive(Debug)]
pub(crate) struct Session {
    /// The `ssl.SSLObject`, for the application.
    object: RefCell<Py<PyAny>>,
    /// Its native half.
    native: RefCell<Py<PyAny>>,
    records: Records,
}

/// The way of the records.
#[derive(Debug)]
enum Records {
    Memory(Memory),
    Wire(Wire),
}

/// What a session is made of.
pub(crate) struct Parts<'py> {
    /// The user's `ssl.SSLContext`.
    pub(crate) context: Bound<'py, PyAny>,
    /// Its `wrap_bio`, with all arguments.
    pub(crate) wrap: Bound<'py, PyAny>,
    /// The buffers among those.
    pub(crate) incoming: Py<PyAny>,
    pub(crate) outgoing: Py<PyAny>,
    /// Makes what the application has in place of the session's native half.
    pub(crate) guard: Bound<'py, PyAny>,
}

/// What was read.
pub(crate) struct Reading<'py> {
    pub(crate) data: Data<'py>,
    pub(crate) then: Then,
}

pub(crate) enum Data<'py> {
    Nothing,
    Bytes(Bound<'py, PyBytes>),
    /// The reader has it.
    Fed,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The session has all that came.
    Wait,
    /// There may be more.
    More,
    /// The peer has said goodbye.
    End,
    /// The session has failed: see [`Session::failure`].
    Failure,
}

/// Ciphertext to be sent.
pub(crate) enum Outgoing<'py> {
    Bytes(Bound<'py, PyBytes>),
    Owned(Vec<u8>),
}

impl Session {
    /// Makes the session; `None` when the context makes something else than plain `ssl.SSLObject`s.
    pub(crate) fn new(parts: Parts<'_>) -> PyResult<Option<Self>> {
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
        if wire.is_some() {
            // `_ssl` leaves the interpreter's lock, and its own, while it reads or writes: another thread would find us at
            // work on the same session.
            object.setattr(name!(py, "_sslobj"), parts.guard.call1((&native,))?)?;
        }
        Ok(Some(Self {
            object: RefCell::new(object.unbind()),
            native: RefCell::new(native.unbind()),
            records: match wire {
                Some(wire) => Records::Wire(wire),
                None => Records::Memory(Memory::new(parts.incoming, parts.outgoing)),
            },
        }))
    }

    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        held(py, &self.object)
    }

    /// Whether records go past `_ssl`.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.records, Records::Wire(_))
    }

    /// Goes on with the handshake; `None` when it needs more from the peer.
    pub(crate) fn shake_hands(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let done = call::method(&self.native(py), name!(py, "do_handshake"), []);
        unless_again(py, done.map(drop))
    }

    /// Says goodbye; `None` until the peer has, too.
    pub(crate) fn shut_down(&self, py: Python<'_>) -> PyResult<Option<()>> {
        let done = call::method(&self.native(py), name!(py, "shutdown"), []);
        unless_again(py, done.map(drop))
    }

    /// Takes ciphertext out of the loop's read buffer, and decrypts it if `read` says so. What could run Python code, which
    /// might want that buffer too, is left to [`Session::go_on`].
    #[inline]
    pub(crate) fn take<'py>(
        &self,
        py: Python<'py>,
        ciphertext: &[u8],
        read: bool,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<Taken<'py>> {
        let native = self.native(py);
        match &self.records {
            Records::Wire(wire) if read && wire.runs_no_callbacks(&native) => {
                read_wire(wire, &native, ciphertext, reader).map(Taken::Read)
            }
            // A peer may shake hands anew, which runs the context's callbacks.
            Records::Wire(_) if read => Ok(Taken::Left(make::bytes(py, ciphertext)?)),
            Records::Wire(wire) => {
                wire.keep(&native, ciphertext)?;
                Ok(Taken::Kept)
            }
            Records::Memory(_) => Ok(Taken::Left(make::bytes(py, ciphertext)?)),
        }
    }

    /// What [`Session::take`] could not do; `None` where nothing was to be read.
    #[inline]
    pub(crate) fn go_on<'py>(
        &self,
        taken: Taken<'py>,
        read: bool,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<Option<Reading<'py>>> {
        match taken {
            Taken::Read(reading) => Ok(Some(reading)),
            Taken::Kept => Ok(None),
            Taken::Left(ciphertext) => {
                let py = ciphertext.py();
                self.feed(ciphertext.as_any())?;
                if read {
                    self.read(py, reader).map(Some)
                } else {
                    Ok(None)
                }
            }
        }
    }

    /// Takes ciphertext that came.
    pub(crate) fn feed(&self, ciphertext: &Bound<'_, PyAny>) -> PyResult<()> {
        match &self.records {
            Records::Memory(memory) => memory.feed(ciphertext),
            Records::Wire(wire) => {
                let view = View::readable(ciphertext)?;
                wire.keep(&self.native(ciphertext.py()), view.bytes())
            }
        }
    }

    /// Decrypts all that came: into the reader where there is one and nothing pins its buffer.
    pub(crate) fn read<'py>(
        &self,
        py: Python<'py>,
        reader: Option<&Reader<'_>>,
    ) -> PyResult<Reading<'py>> {
        let native = self.native(py);
        match &self.records {
            Records::Memory(memory) => memory.read(&native, reader),
            Records::Wire(wire) => read_wire(wire, &native, &[], reader),
        }
    }

    /// Decrypts into a buffer of the application's; answers how many bytes.
    pub(crate) fn read_into(&self, buffer: &Bound<'_, PyAny>) -> PyResult<(usize, Then)> {
        let native = self.native(buffer.py());
        match &self.records {
            Records::Memory(memory) => memory.read_into(&native, buffer),
            Records::Wire(wire) => {
                let Ok(mut view) = View::writable(buffer) else {
                    // `_ssl` refuses it in its own words, before it reads anything.
                    let room = make::int(native.py(), buffer.len()?)?;
                    let name = name!(native.py(), "read");
                    call::method(&native, name, [room.as_any(), buffer])?;
                    return Err(no_reason());
                };
                if view.len() == 0 {
                    return Ok((0, Then::End)); // As asyncio takes it.
                }
                let (count, ending) = wire.read(&native, &[], &mut view.room());
                Ok((count, then(ending)?))
            }
        }
    }

    /// Raises why reading has failed, but where asyncio goes on as if there was nothing to read.
    pub(crate) fn failure(&self, py: Python<'_>) -> PyResult<()> {
        // A session that has failed once fails again, and `_ssl` says why.
        let one = make::int(py, 1)?;
        let read = call::method(&self.native(py), name!(py, "read"), [one.as_any()]);
        unless_again(py, read.and_then(|_| Err(no_reason()))).map(|_: Option<()>| ())
    }

    /// Makes room for what so many bytes become. The memory buffers of Python's ask for it themselves.
    pub(crate) fn reserve(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        match &self.records {
            Records::Memory(_) => Ok(()),
            Records::Wire(wire) => wire.reserve(&self.native(py), count),
        }
    }

    /// Encrypts as much as the session takes; answers how many bytes. Fewer than all when it must read first.
    pub(crate) fn write(&self, bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = bytes.py();
        let native = self.native(py);
        let wire = match &self.records {
            Records::Memory(_) => return memory_bio::write(&native, bytes),
            Records::Wire(wire) => wire,
        };
        let (done, ending) = match bytes.cast_exact::<PyBytes>() {
            Ok(bytes) => wire.write(&native, bytes.as_bytes()),
            Err(_) => wire.write(&native, View::readable(bytes)?.bytes()),
        };
        if matches!(ending, Ending::Drained | Ending::Full) {
            return Ok(done);
        }
        // A session that has failed once fails again, and `_ssl` says why.
        let written = call::method(&native, name!(py, "write"), [&rest(bytes, done)?]);
        unless_again(py, written.and_then(|_| Err::<(), _>(no_reason())))?;
        Ok(done)
    }

    /// Whether reading can find anything.
    pub(crate) fn has_input(&self, py: Python<'_>) -> PyResult<bool> {
        let native = self.native(py);
        match &self.records {
            Records::Memory(memory) => memory.has_input(&native),
            Records::Wire(wire) => Ok(wire.incoming_size(&native) > 0 || wire.unread(&native) > 0),
        }
    }

    /// Ciphertext that came and was not looked at.
    pub(crate) fn incoming_size(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.records {
            Records::Memory(memory) => memory.incoming_size(py),
            Records::Wire(wire) => Ok(wire.incoming_size(&self.native(py))),
        }
    }

    /// All ciphertext that is to be sent; `None` when there is none.
    #[inline]
    pub(crate) fn take_outgoing<'py>(&self, py: Python<'py>) -> PyResult<Option<Outgoing<'py>>> {
        match &self.records {
            Records::Memory(memory) => {
                let taken = memory.take_outgoing(py)?;
                Ok((!taken.as_bytes().is_empty()).then_some(Outgoing::Bytes(taken)))
            }
            Records::Wire(wire) => {
                let taken = wire.take_outgoing(&self.native(py));
                Ok((!taken.is_empty()).then_some(Outgoing::Owned(taken)))
            }
        }
    }

    pub(crate) fn outgoing_size(&self, py: Python<'_>) -> PyResult<usize> {
        match &self.records {
            Records::Memory(memory) => memory.outgoing_size(py),
            Records::Wire(wire) => Ok(wire.outgoing_size(&self.native(py))),
        }
    }

    /// Lets go of everything. Only for a session that is over.
    pub(crate) fn release(&self, py: Python<'_>) {
        for cell in [&self.object, &self.native] {
            let before = cell.replace(py.None());
            drop(before);
        }
        if let Records::Memory(memory) = &self.records {
            memory.release(py);
        }
    }

    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        for cell in [&self.object, &self.native] {
            if let Ok(object) = cell.try_borrow() {
                visitor.object(&object);
            }
        }
        if let Records::Memory(memory) = &self.records {
            memory.traverse(visitor);
        }
    }

    #[inline]
    fn native<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        held(py, &self.native)
    }
}

/// What became of ciphertext.
pub(crate) enum Taken<'py> {
    Read(Reading<'py>),
    Kept,
    /// For `_ssl`, where Python code may run.
    Left(Bound<'py, PyBytes>),
}

fn then(ending: Ending) -> PyResult<Then> {
    match ending {
        Ending::Drained => Ok(Then::Wait),
        Ending::Full => Ok(Then::More),
        Ending::Goodbye => Ok(Then::End),
        Ending::Failed => Ok(Then::Failure),
        Ending::Starved => Err(make::no_memory(())),
    }
}

/// Whether the context's `wrap_bio` does what `ssl.SSLContext`'s does, and nobody listens to the session's messages.
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

/// The standard library's `ssl.SSLContext`; libraries put classes of their own in its place.
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

/// Decrypts what was kept, and then `ciphertext`.
fn read_wire<'py>(
    wire: &Wire,
    native: &Bound<'py, PyAny>,
    ciphertext: &[u8],
    reader: Option<&Reader<'_>>,
) -> PyResult<Reading<'py>> {
    let py = native.py();
    // Records add to what they carry.
    let most = wire.unread(native) + wire.incoming_size(native) + ciphertext.len();
    let most = most.max(1);
    let mut ending = Ending::Drained;
    let mut ciphertext = ciphertext;
    let mut read = |buffer: &mut ReadBuffer<'_>| {
        let (count, how) = wire.read(native, std::mem::take(&mut ciphertext), buffer);
        ending = how;
        Ok::<usize, Infallible>(count)
    };
    let data = match reader {
        // Nobody can move the reader's buffer meanwhile.
        Some(reader) if wire.runs_no_callbacks(native) => {
            match bytes::append_into(reader.buffer(), most, &mut read) {
                Ok(Ok(0)) => Data::Nothing,
                Ok(Ok(_)) => Data::Fed,
                Ok(Err(never)) => match never {},
                Err(error) if bytes::is_pinned(py, &error) => read_bytes(py, most, read)?,
                Err(error) => return Err(error),
            }
        }
        Some(reader) => match read_bytes(py, most, read)? {
            Data::Bytes(plaintext) => match bytes::extend(reader.buffer(), plaintext.as_bytes()) {
                Ok(()) => Data::Fed,
                Err(error) if bytes::is_pinned(py, &error) => Data::Bytes(plaintext),
                Err(error) => return Err(error),
            },
            data => data,
        },
        None => read_bytes(py, most, read)?,
    };
    let then = then(ending)?;
    Ok(Reading { data, then })
}

fn read_bytes(
    py: Python<'_>,
    most: usize,
    read: impl FnOnce(&mut ReadBuffer<'_>) -> Result<usize, Infallible>,
) -> PyResult<Data<'_>> {
    match bytes::read_into_new(py, most, read)? {
        Ok((_, 0)) => Ok(Data::Nothing),
        Ok((plaintext, _)) => Ok(Data::Bytes(plaintext)),
        Err(never) => match never {},
    }
}

#[inline]
pub(crate) fn held<'py>(py: Python<'py>, cell: &RefCell<Py<PyAny>>) -> Bound<'py, PyAny> {
    cell.borrow().bind(py).clone()
}

/// The same bytes in an object that nobody can change.
pub(crate) fn snapshot<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if bytes.is_exact_instance_of::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let view = View::readable(bytes)?;
    Ok(make::bytes(bytes.py(), view.bytes())?.into_any())
}

/// The bytes from `start` on, which nobody can change; copied only where somebody could.
pub(crate) fn rest<'py>(bytes: &Bound<'py, PyAny>, start: usize) -> PyResult<Bound<'py, PyAny>> {
    let whole = PyMemoryView::from(&snapshot(bytes)?)?;
    whole.get_item(make::slice(bytes.py(), start, whole.len()?)?)
}

/// `None` in place of asyncio's `SSLAgainErrors`: the session needs more from the peer.
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

/// Whether the error is that the peer has said goodbye, as a session puts it that has done so itself.
pub(crate) fn is_goodbye(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, make::imported(&ERROR, py, "ssl", "SSLZeroReturnError")?)?)
}

/// Whether the error is about the peer's certificate.
pub(crate) fn is_certificate_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(error.matches(py, make::imported(&ERROR, py, "ssl", "CertificateError")?)?)
}
