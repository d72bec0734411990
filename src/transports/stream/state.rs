//! A stream transport and what belongs to it.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::ffi::OwnerCell;
use crate::scheduler::Core;
use crate::sys::buffer::ReadBuffer;
use crate::sys::socket;
use crate::transports::descriptor::Descriptor;
use crate::transports::extra_info::ExtraInfo;
use crate::transports::flow_control::FlowControl;
use crate::transports::lifecycle::{Life, Reading, log_of, update_interest};
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
    // Dropped in this order: off the reactor first, then closed.
    pub(crate) life: Life,
    pub(crate) descriptor: Descriptor,
    pub(crate) extra: ExtraInfo,
    pub(crate) delivery: Cell<Delivery>,
    /// Set while the protocol is one that takes its bytes decoded.
    pub(super) decoder: Cell<Option<&'static dyn Decoder>>,
    pub(super) server: RefCell<Option<Py<PyAny>>>,
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
    /// What `sendfile` waits for: an empty buffer.
    pub(crate) empty_waiter: RefCell<Option<Py<PyAny>>>,
}

/// Decodes what a stream receives before its protocol sees it: TLS.
pub(crate) trait Decoder: Debug + Sync {
    /// Calls `receive` once, with memory for received bytes, and hands over to `protocol` what they mean. Returns the
    /// socket's error, or how handing over went.
    fn read(
        &self,
        protocol: &Bound<'_, PyAny>,
        receive: &mut dyn FnMut(&mut ReadBuffer<'_>) -> io::Result<usize>,
    ) -> PyResult<io::Result<PyResult<()>>>;
}

/// Where a protocol's methods run.
pub(crate) struct Room<'py> {
    pub(crate) context: Bound<'py, PyAny>,
    /// Given with the socket, as asyncio does from Python 3.15 on: all of them run in it.
    pub(crate) is_given: bool,
}

impl State {
    /// Of a stream that has neither read nor written.
    pub(super) fn new(
        life: Life,
        descriptor: Descriptor,
        extra: ExtraInfo,
        delivery: Delivery,
        stops: socket::Stops,
    ) -> Self {
        Self {
            life,
            descriptor,
            extra,
            delivery: Cell::new(delivery),
            decoder: Cell::new(None),
            server: RefCell::new(None),
            reading: Cell::new(Reading::Unborn),
            writing: Cell::new(Writing::Idle),
            watches_room: Cell::new(false),
            buffer: RefCell::new(WriteBuffer::new()),
            flow: Cell::new(FlowControl::new()),
            marks: RefCell::new(None),
            wrote_in: Cell::new(0),
            gathering: Cell::new(0),
            large_reads: Cell::new(false),
            stops,
            cut_short: Cell::new(false),
            end_of_writing: Cell::new(false),
            conn_lost: Cell::new(0),
            empty_waiter: RefCell::new(None),
        }
    }

    pub(crate) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delivery.set(protocol::delivery(protocol)?);
        let before = self.life.protocol(protocol.py());
        if !before.is_some_and(|before| before.is(protocol)) {
            self.decoder.set(None);
        }
        self.life.set_protocol(protocol);
        Ok(())
    }

    /// From now on, what is received goes to the protocol through `decoder`.
    pub(crate) fn set_decoder(&self, decoder: &'static dyn Decoder) {
        self.decoder.set(Some(decoder));
    }
}

pub(crate) fn pause_reading(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    // After the end of the stream too, as in asyncio: resumed, the end is read once more.
    if state.life.is_open() && state.reading.get() != Reading::Paused {
        state.reading.set(Reading::Paused);
        update_interest(this, state)?;
        log_of(this, "debug", "%r pauses reading")?;
    }
    Ok(())
}

pub(crate) fn resume_reading(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    if state.reading.get() != Reading::Paused {
        return Ok(());
    }
    state.reading.set(Reading::On);
    update_interest(this, state)?;
    // What came in the meantime is read in a coming turn.
    state.life.arm_read();
    log_of(this, "debug", "%r resumes reading")
}
