//! The Python methods of a datagram transport.

use pyo3::prelude::*;

use super::super::flow_control::HIGH;
use super::super::lifecycle::{Phase, Reading, Transport, update_interest};
use super::super::members::{attribute, limits, method, missing, none, single};
use super::super::shared_methods::{GetProtocol, IsClosing, extra_arguments};
use super::super::write_buffer::Writing;
use super::state::{Datagrams, State, begin_closing, force_close, lose, register};
use super::write;
use crate::driver::Direction;
use crate::ffi::{Members, data, make, members};

pub(super) fn members() -> Members {
    members!(Members::default();
        methods: SendTo, SendToReady, Close, Abort, IsClosing<Datagrams>, IsReading, PauseReading,
            ResumeReading, SetProtocol, GetProtocol<Datagrams>, GetExtraInfo, SetWriteBufferLimits,
            GetWriteBufferLimits, GetWriteBufferSize;
        attributes: Loop, Sock, Address, ConnLost, ProtocolPaused)
}

/// Sends the buffered datagrams, then closes the endpoint.
fn close(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    if state.life.is_open() {
        write::settle(this, state)?;
    }
    if !state.life.is_open() {
        return Ok(()); // Already closed, or closed by `error_received` during the flush.
    }
    begin_closing(this, state)?;
    if state.queue.borrow().is_empty() {
        lose(this, state, None)
    } else {
        Ok(())
    }
}

fn pause_reading(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    if state.life.is_open() && state.reading.get() != Reading::Paused {
        state.reading.set(Reading::Paused);
        update_interest(this, state)?;
    }
    Ok(())
}

fn resume_reading(this: &Bound<'_, Datagrams>, state: &State) -> PyResult<()> {
    if state.reading.get() == Reading::Paused {
        state.reading.set(Reading::On);
        update_interest(this, state)?;
        if state.is_connected && state.direction.get() == Direction::Read {
            // An error may have been reported while the transport was not attached; registering anew reports it again.
            register(this, state, Direction::Read)?;
        }
        // Datagrams that arrived in the meantime are delivered in a later turn.
        state.arm();
    }
    Ok(())
}

pub(super) fn repr(this: &Bound<'_, Datagrams>) -> PyResult<String> {
    let state = data(this).state(this.py())?;
    let fd = state.life.fd;
    let phase = match state.life.phase.get() {
        Phase::Open => "",
        Phase::Closing => " closing",
        Phase::Closed => return Ok(format!("<DatagramTransport closed fd={fd}>")),
    };
    let polling = |whether| if whether { "polling" } else { "idle" };
    let read = polling(state.reading.get() == Reading::On);
    let write = polling(state.writing.get() == Writing::Blocked);
    let size = state.queue.borrow().size();
    Ok(format!(
        "<DatagramTransport{phase} fd={fd} read={read} write=<{write}, bufsize={size}>>"
    ))
}

type This = Datagrams;

method!(
    SendTo,
    "sendto",
    "($self, data, addr=None)",
    "Send a datagram, now or soon, without blocking. `data` may be changed afterwards.",
    |this, state, arguments| {
        let [bytes, address] = arguments.named("sendto", ["data", "addr"])?;
        let bytes = bytes.ok_or_else(|| missing("sendto", "data"))?;
        let address = address.filter(|address| !address.is_none());
        write::send_to(this, &state, &bytes, address.as_deref())
    }
);

method!(
    SendToReady,
    "_sendto_ready",
    "Try again to send what the kernel did not take.",
    |this, state| {
        if state.writing.get() == Writing::Blocked {
            write::flush(this, &state)?;
        }
        Ok(())
    }
);

method!(
    Close,
    "close",
    "Send what is buffered, then close; `connection_lost(None)` is called in a later turn.",
    |this, state| close(this, &state)
);

method!(
    Abort,
    "abort",
    "Close without sending what is buffered; `connection_lost(None)` is called in a later turn.",
    |this, state| {
        write::settle(this, &state)?;
        force_close(this, &state, None)
    }
);

method!(
    IsReading,
    "is_reading",
    "Whether received datagrams are delivered.",
    |this, state| {
        let reading = state.reading.get() != Reading::Paused;
        Ok(state.life.is_open() && reading)
    }
);

method!(
    PauseReading,
    "pause_reading",
    "Deliver nothing until `resume_reading()`; the kernel keeps what it has room for.",
    |this, state| pause_reading(this, &state)
);

method!(
    ResumeReading,
    "resume_reading",
    "Resume delivering received datagrams.",
    |this, state| resume_reading(this, &state)
);

method!(
    SetProtocol,
    "set_protocol",
    "($self, protocol)",
    "Call `protocol` from now on.",
    |this, state, arguments| {
        state
            .life
            .set_protocol(&single(arguments, "set_protocol", "protocol")?);
        Ok(())
    }
);

method!(
    GetExtraInfo,
    "get_extra_info",
    "($self, name, default=None)",
    "`socket`, `sockname`, `peername`, or what the maker of the transport added; else `default`.",
    |this, state, arguments| {
        let (name, default) = extra_arguments(arguments)?;
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
        write::settle(this, &state)?;
        state.flow.set(marks)?;
        write::grown(this, &state)
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
    "Bytes that the kernel has not taken yet, plus 8 for each datagram since Python 3.13.",
    |this, state| {
        write::settle(this, &state)?;
        Ok(make::int(this.py(), state.queue.borrow().size())?.into_any())
    }
);

attribute!(Loop, c"_loop", |this, state| {
    let core = (state.life.phase.get() != Phase::Closed).then(|| data(this).core().bind(this.py()));
    Ok(core.map_or_else(|| none(this.py()), |core| core.as_any().clone()))
});

attribute!(Sock, c"_sock", |this, state| {
    match state.life.phase.get() {
        Phase::Closed => Ok(none(this.py())),
        Phase::Open | Phase::Closing => state.descriptor.socket(this.py()),
    }
});

attribute!(Address, c"_address", |this, state| {
    let address = state.address.as_ref();
    Ok(address.map_or_else(
        || none(this.py()),
        |address| address.bind(this.py()).clone(),
    ))
});

attribute!(ConnLost, c"_conn_lost", |this, state| {
    Ok(make::int(this.py(), state.conn_lost.get())?.into_any())
});

attribute!(ProtocolPaused, c"_protocol_paused", |this, state| {
    Ok(state.flow.is_paused())
});
