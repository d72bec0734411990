//! The methods of a TLS transport that the application above and the stream below call.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::handshake;
use super::read;
use super::shutdown;
use super::state::{Limits, READ_HIGH, Tls, TlsPhase, TlsState, WRITE_HIGH, forget_if_over};
use super::write;
use crate::ffi::{Members, adopt, class_of, data, downcast, make, members, name};
use crate::transports::lifecycle::Transport;
use crate::transports::members::{attribute, boolean, limits, method, none, pair, single};
use crate::transports::protocol::Delivery;
use crate::transports::set_limits::set_limits;
use crate::transports::shared_methods::{extra_arguments, sendfile_mode};
use crate::transports::stream;
use crate::transports::streams::Overlay;

pub(crate) fn members() -> Members {
    members!(Members::default();
        methods: Write, WriteLines, WriteEof, CanWriteEof, Close, Abort, ForceClose, IsClosing,
            IsReading, PauseReading, ResumeReading, SetProtocol, GetProtocol, GetExtraInfo,
            SetWriteBufferLimits, GetWriteBufferLimits, GetWriteBufferSize, SetReadBufferLimits,
            GetReadBufferLimits, GetReadBufferSize, ConnectionMade, ConnectionLost, EofReceived,
            PauseWriting, ResumeWriting, Feed, CheckHandshakeTimeout, CheckShutdownTimeout,
            SetLimits, Settled;
        attributes: Loop, ProtocolPaused, SendfileCompatible, StartTlsCompatible, SslProtocol,
            SslContext, AppReadingPaused, IsDirect)
}

pub(crate) fn repr(this: &Bound<'_, Tls>) -> PyResult<String> {
    let py = this.py();
    let state = data(this).state(py)?;
    let closing = if state.closed.get() { " closing" } else { "" };
    Ok(match state.stream(py) {
        Some(stream) => format!("<SSLTransport{closing} over {}>", stream.as_any().repr()?),
        None if state.closed.get() => "<SSLTransport closed>".to_owned(),
        None => "<SSLTransport>".to_owned(),
    })
}

/// The writer of a stream may be calling.
#[inline]
fn meet_writer(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<()> {
    if state.delivery.get() == Delivery::Reader {
        let core = data(this).core.bind(this.py());
        return state.uses.wrote(core, this.as_any());
    }
    Ok(())
}

/// What adopted writers call without a look-up.
pub(crate) const OVERLAY: Overlay = Overlay {
    class: class_of::<Tls>,
    write: |transport, bytes| {
        let this = plain(transport)?;
        let state = data(this).state(this.py());
        Some(state.and_then(|state| write::write(this, &state, bytes)))
    },
    is_closing: |transport| {
        let this = plain(transport)?;
        let state = data(this).state(this.py());
        Some(state.and_then(|state| is_closing(this, &state)))
    },
};

/// A TLS transport with no methods but its own.
#[inline]
fn plain<'a, 'py>(transport: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Tls>> {
    downcast::<Tls>(transport).filter(|this| adopt::has_no_fields(this))
}

/// Also sends what was written: `StreamWriter.drain()` asks this, too.
fn is_closing(this: &Bound<'_, Tls>, state: &TlsState) -> PyResult<bool> {
    let py = this.py();
    write::settle(this, state)?;
    if state.closed.get() {
        return Ok(true);
    }
    match state.stream(py) {
        Some(stream) => Ok(!data(&stream).state(py)?.life.is_open()),
        None => Ok(false),
    }
}

type This = Tls;

method!(
    Write,
    "write",
    "($self, data)",
    "Encrypt and send bytes, now or soon, without blocking. `data` may be changed afterwards.",
    |this, state, arguments| {
        write::write(this, &state, &single(arguments, "write", "data")?)?;
        meet_writer(this, &state)
    }
);

method!(
    WriteLines,
    "writelines",
    "($self, list_of_data)",
    "Send the bytes of each item, in order.",
    |this, state, arguments| {
        let lines = single(arguments, "writelines", "list_of_data")?;
        write::write_lines(this, &state, &lines)?;
        meet_writer(this, &state)
    }
);

method!(
    WriteEof,
    "write_eof",
    "Not supported: TLS cannot be half-closed.",
    |_this, _state| Err::<(), _>(PyNotImplementedError::new_err(()))
);

method!(
    CanWriteEof,
    "can_write_eof",
    "False: TLS cannot be half-closed.",
    |this, _state| Ok(false)
);

method!(
    Close,
    "close",
    "Send what is buffered and exchange close_notify with the peer; then `connection_lost(None)` is called.",
    |this, state| {
        if state.closed.replace(true) {
            state.forgotten.set(true);
            forget_if_over(this, &state);
        } else {
            shutdown::start_shutdown(this, &state)?;
        }
        Ok(())
    }
);

method!(
    Abort,
    "abort",
    "Close without sending what is buffered; `connection_lost(None)` is called in a later turn.",
    |this, state| {
        state.closed.set(true);
        shutdown::abort(this, &state, None)
    }
);

method!(
    ForceClose,
    "_force_close",
    "($self, exc)",
    "As `abort()`, with the argument for `connection_lost`; asyncio's TLS calls it.",
    |this, state, arguments| {
        let error = single(arguments, "_force_close", "exc")?;
        state.closed.set(true);
        shutdown::abort(this, &state, Some(error).filter(|error| !error.is_none()))
    }
);

method!(
    IsClosing,
    "is_closing",
    "Whether the transport is closing or closed.",
    |this, state| is_closing(this, &state)
);

method!(
    IsReading,
    "is_reading",
    "Whether received bytes are delivered.",
    |this, state| Ok(!state.reading_paused.get())
);

method!(
    PauseReading,
    "pause_reading",
    "Deliver nothing until `resume_reading()`; backpressure reaches the peer once the buffers are full.",
    |this, state| {
        state.reading_paused.set(true);
        Ok(())
    }
);

method!(
    ResumeReading,
    "resume_reading",
    "Resume delivering received bytes.",
    |this, state| read::resume(this, &state)
);

method!(
    SetProtocol,
    "set_protocol",
    "($self, protocol)",
    "Call `protocol` from now on.",
    |this, state, arguments| state.set_protocol(&single(arguments, "set_protocol", "protocol")?)
);

method!(
    GetProtocol,
    "get_protocol",
    "The current protocol.",
    |this, state| Ok(state.protocol(this.py()).unwrap_or_else(|| none(this.py())))
);

method!(
    GetExtraInfo,
    "get_extra_info",
    "($self, name, default=None)",
    "`ssl_object`, `sslcontext`, `peercert`, `cipher`, `compression`, or what the stream knows; else `default`.",
    |this, state, arguments| {
        let py = this.py();
        let (name, default) = extra_arguments(arguments)?;
        write::settle(this, &state)?;
        let extra = data(this).extra.bind(py);
        if let Some(value) = extra.get_item(name)? {
            return Ok(value);
        }
        match state.stream(py) {
            Some(stream) => stream
                .as_any()
                .call_method1(name!(py, "get_extra_info"), (name, default)),
            None => Ok(default),
        }
    }
);

method!(
    SetWriteBufferLimits,
    "set_write_buffer_limits",
    "($self, high=None, low=None)",
    "Pause the protocol's writing at `high` buffered bytes, resume it at `low`.",
    |this, state, arguments| {
        let marks = limits(arguments, "set_write_buffer_limits", WRITE_HIGH)?;
        let (high, low) = marks.around()?;
        let before = state.write_marks.replace(Some(marks.into_pair()?));
        drop(before);
        state.write_limits.set(Limits { high, low });
        write::control_application(this, &state)
    }
);

method!(
    GetWriteBufferLimits,
    "get_write_buffer_limits",
    "`(low, high)`, in bytes.",
    |this, state| {
        let limits = state.write_limits.get();
        pair(this.py(), &state.write_marks, (limits.low, limits.high))
    }
);

method!(
    GetWriteBufferSize,
    "get_write_buffer_size",
    "Bytes not passed to the stream below yet.",
    |this, state| {
        write::settle(this, &state)?;
        Ok(make::int(this.py(), write::size(this, &state)?)?.into_any())
    }
);

method!(
    SetReadBufferLimits,
    "set_read_buffer_limits",
    "($self, high=None, low=None)",
    "Pause the stream below at `high` bytes that the protocol has not read, resume it at `low`.",
    |this, state, arguments| {
        let marks = limits(arguments, "set_read_buffer_limits", READ_HIGH)?;
        let (high, low) = marks.around()?;
        let before = state.read_marks.replace(Some(marks.into_pair()?));
        drop(before);
        state.read_limits.set(Limits { high, low });
        read::control_stream(this, &state)
    }
);

method!(
    GetReadBufferLimits,
    "get_read_buffer_limits",
    "`(low, high)`, in bytes.",
    |this, state| {
        let limits = state.read_limits.get();
        pair(this.py(), &state.read_marks, (limits.low, limits.high))
    }
);

method!(
    GetReadBufferSize,
    "get_read_buffer_size",
    "Received bytes that are not decrypted yet.",
    |this, state| {
        let size = state.session.incoming_size(this.py())?;
        Ok(make::int(this.py(), size)?.into_any())
    }
);

method!(
    ConnectionMade,
    "connection_made",
    "($self, transport)",
    "Called by the stream below, as its protocol: starts the handshake.",
    |this, _state, arguments| {
        let stream = single(arguments, "connection_made", "transport")?;
        handshake::begin(this, &stream)
    }
);

method!(
    ConnectionLost,
    "connection_lost",
    "($self, exc)",
    "Called by the stream below, as its protocol.",
    |this, _state, arguments| shutdown::lost(this, &single(arguments, "connection_lost", "exc")?)
);

method!(
    EofReceived,
    "eof_received",
    "Called by the stream below, as its protocol.",
    |this, _state| shutdown::at_end(this)
);

method!(
    PauseWriting,
    "pause_writing",
    "Called by the stream below, as its protocol.",
    |this, state| write::block(this, &state)
);

method!(
    ResumeWriting,
    "resume_writing",
    "Called by the stream below, as its protocol.",
    |this, state| write::unblock(this, &state)
);

method!(
    Feed,
    "_feed",
    "($self, ciphertext)",
    "Pass on ciphertext that arrived before the handshake began.",
    |this, state, arguments| {
        let ciphertext = single(arguments, "_feed", "ciphertext")?;
        state.session.feed(&ciphertext)
    }
);

method!(
    CheckHandshakeTimeout,
    "_check_handshake_timeout",
    "Timer callback: abort if the handshake is unfinished.",
    |this, state| handshake::check_handshake_timeout(this, &state)
);

method!(
    CheckShutdownTimeout,
    "_check_shutdown_timeout",
    "Timer callback: abort if the shutdown is unfinished.",
    |this, state| shutdown::check_shutdown_timeout(this, &state)
);

method!(
    SetLimits,
    "set_limits",
    "($self, limits=None, /, **changes)",
    "Limit how long the peer may stall, from now on: see `yamanote.Limits`.",
    |this, state, arguments| match state.stream(this.py()) {
        Some(stream) => set_limits(&stream, arguments),
        None => Ok(()),
    }
);

method!(
    Settled,
    "_settled",
    "Whether nothing waits to be sent, and what moved last went out or nothing has moved yet.",
    |this, state| {
        write::settle(this, &state)?;
        let is_empty = write::size(this, &state)? == 0;
        match state.stream(this.py()) {
            Some(stream) if state.phase.get() == TlsPhase::Wrapped && is_empty => {
                Ok(stream::state::is_settled(&*data(&stream).state(this.py())?))
            }
            _ => Ok(false),
        }
    }
);

attribute!(Loop, c"_loop", |this, _state| Ok(data(this)
    .core
    .bind(this.py())
    .as_any()
    .clone()));

attribute!(ProtocolPaused, c"_protocol_paused", |this, state| Ok(
    boolean(this.py(), state.writing_paused.get())
));

attribute!(
    SendfileCompatible,
    c"_sendfile_compatible",
    |this, _state| {
        static FALLBACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        sendfile_mode(&FALLBACK, this.py(), "FALLBACK")
    }
);

attribute!(
    StartTlsCompatible,
    c"_start_tls_compatible",
    |this, _state| Ok(true)
);

attribute!(SslProtocol, c"_ssl_protocol", |this, _state| Ok(this
    .as_any()
    .clone()));

attribute!(SslContext, c"_sslcontext", |this, _state| {
    this.as_any()
        .call_method1(name!(this.py(), "get_extra_info"), ("sslcontext",))
});

attribute!(AppReadingPaused, c"_app_reading_paused", |this, state| {
    Ok(state.reading_paused.get())
});

attribute!(IsDirect, c"_is_direct", |this, state| Ok(boolean(
    this.py(),
    state.session.is_direct()
)));
