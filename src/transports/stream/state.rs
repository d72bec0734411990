//! A stream transport and its state.

use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::sys::buffer::ReadBuffer;
use crate::sys::socket;
use crate::transports::descriptor::Descriptor;
use crate::transports::extra_info::ExtraInfo;
use crate::transports::flow::Flow;
use crate::transports::frame::Frame;
use crate::transports::lifecycle::{Life, Reading, log_of, resume_limits, update_interest};
use crate::transports::protocol::{self, Delivery};
use crate::transports::streams::adoption::Uses;
use crate::transports::write_buffer::WriteBuffer;
pub(crate) use crate::transports::write_buffer::Writing;

/// `SocketTransport`: an `asyncio.Transport` over a connected stream socket.
#[derive(Debug)]
pub(crate) struct Stream(pub(super) Frame<State>);

/// State that only the loop's thread uses. No cell is borrowed while Python code can run.
#[derive(Debug)]
pub(crate) struct State {
    // Fields are dropped in this order: deregistered first, then closed.
    pub(crate) life: Life,
    pub(crate) descriptor: Descriptor,
    pub(crate) extra: ExtraInfo,
    pub(crate) delivery: Cell<Delivery>,
    /// Set while the protocol is one that receives decoded bytes.
    pub(super) decoder: Cell<Option<Decode>>,
    pub(super) server: RefCell<Option<Py<PyAny>>>,
    pub(crate) reading: Cell<Reading>,
    pub(crate) writing: Cell<Writing>,
    /// The registration includes room to write. On a Unix socket it does not until the kernel is full for the first
    /// time, because each read of the peer would wake the loop.
    pub(crate) watches_room: Cell<bool>,
    pub(crate) buffer: RefCell<WriteBuffer<PyBackedBytes>>,
    pub(crate) flow: Flow,
    /// The loop's count of the callback that wrote last; 0 once the program has read the transport's state since.
    pub(crate) wrote_in: Cell<u64>,
    /// While above 0, the writes of one callback are gathered; counts down with each callback that writes once.
    pub(crate) gathering: Cell<u8>,
    /// The last read was large, so the next one goes directly into a new `bytes`.
    pub(crate) large_reads: Cell<bool>,
    /// Where the kernel may end a read before the socket is empty.
    pub(crate) stops: socket::Stops,
    /// The next read ends after so many bytes; for `yamanote.testing.faults`.
    pub(super) most: Cell<Option<NonZeroUsize>>,
    /// Whether something ended the last read before the socket was empty.
    pub(super) cut: Cell<Cut>,
    pub(super) uses: Uses,
    /// `write_eof()` was called.
    pub(crate) end_of_writing: Cell<bool>,
    /// Writes since the connection was lost, plus one, counted as in asyncio.
    pub(crate) conn_lost: Cell<usize>,
    /// The future of a `sendfile()` that waits for an empty buffer.
    pub(crate) empty_waiter: RefCell<Option<Py<PyAny>>>,
}

/// Decodes received bytes before the protocol sees them, as TLS does: calls `receive` once, with memory for received
/// bytes, and passes the decoded bytes to `protocol`. Returns the socket's error, or the result of passing them on.
pub(crate) type Decode = fn(
    protocol: &Bound<'_, PyAny>,
    receive: &mut dyn FnMut(&mut ReadBuffer<'_>) -> io::Result<usize>,
) -> PyResult<io::Result<PyResult<()>>>;

/// What ended a read, other than the room for it or the bytes that had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    No,
    /// The kernel may have.
    Perhaps,
    /// [`State::most`] has; the rest is for a later pass.
    Most,
}

/// The context in which a protocol's methods run.
pub(crate) struct Room<'py> {
    pub(crate) context: Bound<'py, PyAny>,
    /// Whether the caller supplied the context with the socket, as asyncio does since Python 3.15; then all methods
    /// run in it.
    pub(crate) is_given: bool,
}

impl State {
    /// The state of a new stream.
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
            flow: Flow::new(),
            wrote_in: Cell::new(0),
            gathering: Cell::new(0),
            large_reads: Cell::new(false),
            stops,
            most: Cell::new(None),
            cut: Cell::new(Cut::No),
            uses: Uses::default(),
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

    /// From now on, received bytes go to the protocol through `decoder`.
    pub(crate) fn set_decoder(&self, decoder: Decode) {
        self.decoder.set(Some(decoder));
    }
}

/// Whether nothing is on its way out, and the peer's last bytes were answered.
pub(crate) fn is_settled(state: &State) -> bool {
    let is_sending = !state.buffer.borrow().is_empty() || state.empty_waiter.borrow().is_some();
    !is_sending && !state.life.traffic.owes()
}

pub(crate) fn pause_reading(this: &Bound<'_, Stream>, state: &State) -> PyResult<()> {
    // Also allowed after the end of the stream, as in asyncio: resuming then reads the end again.
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
    resume_limits(this, &state.life)?;
    state.reading.set(Reading::On);
    update_interest(this, state)?;
    // Data that arrived in the meantime is read in a later turn.
    state.life.arm_read();
    log_of(this, "debug", "%r resumes reading")
}
