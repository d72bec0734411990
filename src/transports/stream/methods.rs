//! The Python methods of a stream transport.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::ending::force_close;
use super::flush::{close, grown, settle};
use super::state::{State, Stream, Writing, is_settled, pause_reading, resume_reading};
use super::write;
use crate::errors::os_error;
use crate::ffi::{Members, data, make, members, name};
use crate::sys::socket;
use crate::transports::flow_control::HIGH;
use crate::transports::lifecycle::{Phase, Reading, Transport, update_interest};
use crate::transports::members::{attribute, limits, method, none, single};
use crate::transports::protocol::Delivery;
use crate::transports::set_limits::set_limits;
use crate::transports::shared_methods::{GetProtocol, Loop, extra_arguments, sendfile_mode};

pub(crate) fn members() -> Members {
    members!(Members::default();
        methods: Write, WriteLines, WriteEof, CanWriteEof, Close, Abort, ForceClose, IsClosing,
            IsReading, PauseReading, ResumeReading, SetProtocol, GetProtocol<Stream>, GetExtraInfo,
            SetWriteBufferLimits, GetWriteBufferLimits, GetWriteBufferSize, MakeEmptyWaiter,
            ResetEmptyWaiter, NoteSent, SetLimits, Settled, HasRested;
        attributes: SockFd, Loop<Stream>, Sock, Paused, ProtocolPaused, SendfileCompatible,
            StartTlsCompatible)
}

pub(crate) fn repr(this: &Bound<'_, Stream>) -> PyResult<String> {
    let state = data(this).state(this.py())?;
    let phase = match state.life.phase.get() {
        Phase::Open => "",
        Phase::Closing => " closing",
        Phase::Closed => return Ok("<SocketTransport closed>".to_owned()),
    };
    let read = if state.reading.get() == Reading::On {
        "polling"
    } else {
        "idle"
    };
    let write = if state.writing.get() == Writing::Blocked {
        "polling"
    } else {
        "idle"
    };
    let size = state.buffer.borrow().len();
    let fd = state.life.fd;
    Ok(format!(
        "<SocketTransport{phase} fd={fd} read={read} write=<{write}, bufsize={size}>>"
    ))
}

/// The writer of a stream may be calling.
#[inline]
fn meet_writer(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    if state.delivery.get() == Delivery::Reader {
        let core = data(this).core().bind(this.py());
        return state.uses.wrote(core, this.as_any());
    }
    Ok(())
}

type This = Stream;

method!(
    Write,
    "write",
    "($self, data)",
    "Send bytes, now or soon, without blocking. `data` may be changed afterwards.",
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
    "Close the sending half once everything is sent; receiving goes on.",
    |this, state| {
        if state.life.is_open() && !state.end_of_writing.get() {
            settle(this, &state)?;
            state.end_of_writing.set(true);
            if state.life.is_open() && state.buffer.borrow().is_empty() {
                socket::shutdown_write(state.life.fd).map_err(os_error)?;
            }
        }
        Ok(())
    }
);

method!(
    CanWriteEof,
    "can_write_eof",
    "True: sockets can be half-closed.",
    |this, _state| Ok(true)
);

method!(
    Close,
    "close",
    "Send what is buffered, then close; `connection_lost(None)` is called in a later turn.",
    |this, _state| close(this)
);

method!(
    Abort,
    "abort",
    "Close without sending what is buffered; `connection_lost(None)` is called in a later turn.",
    |this, state| {
        settle(this, &state)?;
        force_close(this, &state, None)
    }
);

method!(
    ForceClose,
    "_force_close",
    "($self, exc)",
    "As `abort()`, with the argument for `connection_lost`; asyncio's TLS calls it.",
    |this, state, arguments| {
        let error = single(arguments, "_force_close", "exc")?;
        settle(this, &state)?;
        force_close(this, &state, Some(error).filter(|error| !error.is_none()))
    }
);

method!(
    IsClosing,
    "is_closing",
    "Whether the transport is closing or closed.",
    |this, state| {
        // `StreamWriter.drain()` calls this too.
        settle(this, &state)?;
        Ok(!state.life.is_open())
    }
);

method!(
    IsReading,
    "is_reading",
    "Whether received bytes are delivered.",
    |this, state| {
        let reading = state.reading.get() != Reading::Paused;
        Ok(state.life.is_open() && reading)
    }
);

method!(
    PauseReading,
    "pause_reading",
    "Deliver nothing until `resume_reading()`; backpressure reaches the peer once the buffers are full.",
    |this, state| pause_reading(this, &state)
);

method!(
    ResumeReading,
    "resume_reading",
    "Resume delivering received bytes.",
    |this, state| resume_reading(this, &state)
);

method!(
    SetProtocol,
    "set_protocol",
    "($self, protocol)",
    "Call `protocol` from now on.",
    |this, state, arguments| state.set_protocol(&single(arguments, "set_protocol", "protocol")?)
);

method!(
    GetExtraInfo,
    "get_extra_info",
    "($self, name, default=None)",
    "`socket`, `sockname`, `peername`, or what the maker of the transport added; else `default`.",
    |this, state, arguments| {
        let (name, default) = extra_arguments(arguments)?;
        settle(this, &state)?;
        let found = state.extra.get(&name, &state.descriptor)?;
        Ok(found.unwrap_or(default))
    }
);

method!(
    SetWriteBufferLimits,
    "set_write_buffer_limits",
    "($self, high=None, low=None)",
    "Pause the protocol's writing above `high` buffered bytes, resume it at `low`.",
    |this, state, arguments| {
        let marks = limits(arguments, "set_write_buffer_limits", HIGH)?;
        settle(this, &state)?;
        state.flow.set(marks)?;
        grown(this, &state)
    }
);

method!(
    GetWriteBufferLimits,
    "get_write_buffer_limits",
    "`(low, high)`, in bytes.",
    |this, state| state.flow.limits(this.py())
);

method!(
    GetWriteBufferSize,
    "get_write_buffer_size",
    "Bytes that the kernel has not taken yet.",
    |this, state| {
        settle(this, &state)?;
        Ok(make::int(this.py(), state.buffer.borrow().len())?.into_any())
    }
);

method!(
    MakeEmptyWaiter,
    "_make_empty_waiter",
    "A future that is done once everything is sent; until it is reset, nothing may be written.",
    |this, state| {
        let py = this.py();
        if state.empty_waiter.borrow().is_some() {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        settle(this, &state)?;
        let core = data(this).core().bind(py);
        let waiter = core.call_method0(name!(py, "create_future"))?;
        if state.buffer.borrow().is_empty() {
            waiter.call_method1(name!(py, "set_result"), (none(py),))?;
        }
        let before = state.empty_waiter.replace(Some(waiter.clone().unbind()));
        drop(before);
        update_interest(this, &state)?;
        Ok(waiter)
    }
);

method!(
    ResetEmptyWaiter,
    "_reset_empty_waiter",
    "Allow writing again.",
    |this, state| {
        let waiter = state.empty_waiter.take();
        drop(waiter);
        update_interest(this, &state)
    }
);

method!(
    NoteSent,
    "_note_sent",
    "Bytes went to the peer past the transport.",
    |_this, state| {
        state.life.traffic.note_out();
        Ok(())
    }
);

method!(
    SetLimits,
    "set_limits",
    "($self, limits=None, /, **changes)",
    "Limit how long the peer may stall, from now on: see `yamanote.Limits`.",
    |this, _state, arguments| set_limits(this, arguments)
);

method!(
    Settled,
    "_settled",
    "Whether nothing waits to be sent, and what moved last went out or nothing has moved yet.",
    |this, state| {
        settle(this, &state)?;
        Ok(is_settled(&state))
    }
);

method!(
    HasRested,
    "_has_rested",
    "Whether it is settled and was so throughout since the last call, without a byte that moved.",
    |this, state| {
        settle(this, &state)?;
        Ok(is_settled(&state) && state.life.traffic.has_rested())
    }
);

attribute!(SockFd, c"_sock_fd", |this, state| {
    Ok(make::signed(this.py(), state.life.fd)?.into_any())
});

attribute!(Sock, c"_sock", |this, state| {
    state.descriptor.socket(this.py())
});

attribute!(Paused, c"_paused", |this, state| {
    Ok(state.reading.get() == Reading::Paused)
});

attribute!(ProtocolPaused, c"_protocol_paused", |this, state| {
    Ok(state.flow.is_paused())
});

attribute!(
    SendfileCompatible,
    c"_sendfile_compatible",
    |this, _state| {
        static TRY_NATIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        sendfile_mode(&TRY_NATIVE, this.py(), "TRY_NATIVE")
    }
);

attribute!(
    StartTlsCompatible,
    c"_start_tls_compatible",
    |this, _state| Ok(true)
);
