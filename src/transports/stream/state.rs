//! A stream transport and what belongs to it.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::driver::Registration;
use crate::ffi::{Entered, OwnerCell, data, make, name};
use crate::scheduler::Core;
use crate::sys::socket;
use crate::transports::descriptor::Descriptor;
use crate::transports::extra_info::ExtraInfo;
use crate::transports::flow_control::FlowControl;
use crate::transports::protocol::{self, Delivery};
use crate::transports::write_buffer::WriteBuffer;
pub(crate) use crate::transports::write_buffer::Writing;

/// `SocketTransport`: an `asyncio.Transport` over a connected stream socket.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) core: Py<Core>,
    /// What the protocol's methods run in.
    pub(super) context: Py<PyAny>,
    /// `connection_lost` runs in it, too: not in that of what ended the connection.
    pub(super) is_context_given: bool,
    pub(super) state: OwnerCell<State>,
}

/// What belongs to the loop's thread. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) fd: RawFd,
    // Dropped in this order: off the reactor first, then closed.
    pub(crate) registration: RefCell<Option<Registration>>,
    pub(crate) descriptor: Descriptor,
    pub(crate) extra: ExtraInfo,
    pub(crate) protocol: RefCell<Option<Py<PyAny>>>,
    pub(crate) delivery: Cell<Delivery>,
    /// Set while the protocol is one that takes its bytes decoded.
    pub(super) decoder: Cell<Option<&'static dyn Decoder>>,
    pub(super) server: RefCell<Option<Py<PyAny>>>,
    pub(crate) phase: Cell<Phase>,
    pub(crate) reading: Cell<Reading>,
    pub(crate) writing: Cell<Writing>,
    /// The reactor watches for room to write. For a Unix socket it does not before the first time that there
    /// was none: each read of the peer's would wake the loop.
    pub(crate) watches_room: Cell<bool>,
    pub(crate) buffer: RefCell<WriteBuffer<PyBackedBytes>>,
    pub(crate) flow: Cell<FlowControl>,
    /// `(low, high)` as `set_write_buffer_limits` was given them.
    pub(crate) marks: RefCell<Option<Py<PyAny>>>,
    /// The callback that wrote last, by the loop's count; 0 when the program has looked since.
    pub(crate) wrote_in: Cell<u64>,
    /// What a callback writes is gathered; for so many more that write once.
    pub(crate) gathering: Cell<u8>,
    /// The last read was large: the next one goes straight into the object.
    pub(crate) large_reads: Cell<bool>,
    /// Where a read may end before all was read.
    pub(crate) stops: socket::Stops,
    /// The last read may have ended so.
    pub(crate) cut_short: Cell<bool>,
    /// `write_eof()` was called.
    pub(crate) end_of_writing: Cell<bool>,
    /// Writes since the connection was lost, plus one, as asyncio counts them.
    pub(crate) conn_lost: Cell<usize>,
    /// What `connection_lost` runs in.
    pub(super) lost_in: RefCell<Option<Py<PyAny>>>,
    /// What `sendfile` waits for: an empty buffer.
    pub(crate) empty_waiter: RefCell<Option<Py<PyAny>>>,
    /// The loop's table holds this transport.
    pub(super) attached: Cell<bool>,
}

/// Decodes what a stream receives before its protocol sees it: TLS.
pub(crate) trait Decoder: Debug + Sync {
    /// Calls `receive` once, with memory for received bytes, and hands over to `protocol` what they mean. Returns the
    /// socket's error, or how handing over went.
    fn read(
        &self,
        protocol: &Bound<'_, PyAny>,
        receive: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
    ) -> PyResult<io::Result<PyResult<()>>>;
}

/// How far a transport's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// `close()` was called or the connection broke; `connection_lost` is to come.
    Closing,
    /// `connection_lost` was called, the descriptor is closed.
    Closed,
}

/// Whether received bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// `connection_made` is still to come.
    Unborn,
    On,
    /// `pause_reading()`.
    Paused,
    /// End of stream, or closing.
    Ended,
}

/// Where a protocol's methods run.
pub(crate) struct Room<'py> {
    pub(crate) context: Bound<'py, PyAny>,
    /// Given with the socket, as asyncio does from Python 3.15 on: all of them run in it.
    pub(crate) is_given: bool,
}

impl Stream {
    /// The state; an error when it is at work on another thread.
    #[inline]
    pub(crate) fn state<'a>(&'a self, py: Python<'a>) -> PyResult<Entered<'a, State>> {
        self.state
            .enter(py, self.core.get().owner())
            .ok_or_else(crate::scheduler::wrong_thread)
    }
}

impl State {
    pub(crate) fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol
            .borrow()
            .as_ref()
            .map(|protocol| protocol.bind(py).clone())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delivery.set(protocol::delivery(protocol)?);
        let before = self.protocol.replace(Some(protocol.clone().unbind()));
        if !before.as_ref().is_some_and(|before| before.is(protocol)) {
            self.decoder.set(None);
        }
        drop(before);
        Ok(())
    }

    /// From now on, what is received goes to the protocol through `decoder`.
    pub(crate) fn set_decoder(&self, decoder: &'static dyn Decoder) {
        self.decoder.set(Some(decoder));
    }
}

/// `object` as a stream transport.
pub(crate) fn cast<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Stream>> {
    crate::ffi::downcast(object)
        .ok_or_else(|| PyTypeError::new_err("a SocketTransport is required"))
}

/// A transport in the loop's table.
pub(super) struct StreamSource {
    pub(super) fd: RawFd,
    pub(super) transport: Py<Stream>,
}

/// Keeps the loop's table right: it holds the transport while bytes are awaited in either direction,
/// as asyncio's selector does; a paused one that nobody refers to any more may be collected.
pub(crate) fn update_interest(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    let wanted = state.reading.get() == Reading::On || state.writing.get() == Writing::Blocked;
    if wanted == state.attached.get() {
        return Ok(());
    }
    let py = this.py();
    let local = data(this).core.get().local(py)?;
    state.attached.set(wanted);
    let registration = state.registration.borrow();
    if let Some(registration) = &*registration {
        if wanted {
            let source = StreamSource {
                fd: state.fd,
                transport: this.clone().unbind(),
            };
            local.attach(registration, Arc::new(source));
        } else {
            local.detach(registration);
        }
    }
    Ok(())
}

pub(crate) fn pause_reading(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    // After the end of the stream too, as in asyncio: resumed, the end is read once more.
    if state.is_open() && state.reading.get() != Reading::Paused {
        state.reading.set(Reading::Paused);
        update_interest(this, state)?;
        log(this, "%r pauses reading")?;
    }
    Ok(())
}

pub(crate) fn resume_reading(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    if state.reading.get() != Reading::Paused {
        return Ok(());
    }
    state.reading.set(Reading::On);
    update_interest(this, state)?;
    if let Some(registration) = &*state.registration.borrow()
        && registration.arm_read()
    {
        // What came in the meantime is read in a coming turn.
        registration.fire_read();
    }
    log(this, "%r resumes reading")
}

/// What asyncio logs about a transport in debug mode.
pub(super) fn log(this: &Bound<'_, Stream>, what: &str) -> PyResult<()> {
    if data(this).core.get().is_debug() {
        make::import(this.py(), "asyncio.log", "logger")?
            .call_method1(name!(this.py(), "debug"), (what, this.as_any()))?;
    }
    Ok(())
}
