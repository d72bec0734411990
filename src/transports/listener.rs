//! A listening socket, and the transports created for its connections.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::descriptor::{Descriptor, SocketKind, fileno};
use super::extra_info::{Address, transport_socket};
use super::gates::{Admitted, ServerGate};
use super::sharing::{Arrival, Sharing};
use super::{faults, stream};
use crate::driver::{Direction, Slot};
use crate::errors::os_error;
use crate::ffi::context::{copy, given_or_current, run_in};
use crate::ffi::naming::{self, Called};
use crate::ffi::{Stopped, call, make, name};
use crate::scheduler::admission::{Admission, Door, Entry};
use crate::scheduler::report::report;
use crate::scheduler::tracer::Kind;
use crate::scheduler::{Core, Source, Visit, WRITE, is_exit};
use crate::sys::clock::monotonic_ns;
use crate::sys::{pipe, socket};

/// One listening socket of one server. The loop's table keeps it alive.
struct Listener {
    fd: RawFd,
    kind: SocketKind,
    sock: Py<PyAny>,
    then: Then,
    /// The context of which `then` and the protocols get copies.
    context: Py<PyAny>,
    /// The server chose the context: each connection runs entirely in its own copy.
    is_servers: bool,
    backlog: usize,
    /// The limits on connections.
    door: Arc<Door>,
    /// By which the listener is fired when there is room again.
    slot: Arc<Slot>,
    /// Errors since the last connection. Relaxed, because only the loop's thread accesses it.
    failures: AtomicUsize,
    /// Whether other loops accept here, too.
    sharing: Sharing,
}

/// What to do with an accepted connection.
pub(crate) enum Then {
    /// Create a transport with a protocol from `factory`.
    Transport {
        factory: Py<PyAny>,
        /// See `clients::enlist`.
        server: Option<Py<PyAny>>,
    },
    /// Call `call(socket, address, context, admitted)`, where a connection needs more than a native transport.
    Call(Py<PyAny>),
}

/// Accepts connections until [`stop`], and handles each as `then` says.
pub(crate) fn listen(
    core: &Bound<'_, Core>,
    sock: &Bound<'_, PyAny>,
    then: Then,
    backlog: usize,
    context: Option<&Bound<'_, PyAny>>,
    gate: &ServerGate,
) -> PyResult<()> {
    let py = core.py();
    core.get().check_closed()?;
    let fd = fileno(sock)?;
    let number = |name| sock.getattr(name)?.extract::<i32>();
    let kind = SocketKind {
        family: number(name!(py, "family"))?,
        kind: number(name!(py, "type"))?,
        protocol: number(name!(py, "proto"))?,
    };
    let local = core.get().local(py)?;
    let registration = local.register(fd, Direction::Read)?;
    let listener = Arc::new(Listener {
        fd,
        kind,
        sock: sock.clone().unbind(),
        then,
        context: given_or_current(py, context)?.unbind(),
        is_servers: context.is_some(),
        backlog: backlog.max(1),
        door: Door::new(Arc::clone(&gate.0), Arc::clone(local.limiting.gate())),
        slot: Arc::clone(registration.slot()),
        failures: AtomicUsize::new(0),
        sharing: Sharing::default(),
    });
    local.attach(&registration, listener);
    registration.arm_read();
    local.add_listener(fd, registration);
    Ok(())
}

/// Stops accepting; `false` when no listener exists for the descriptor.
pub(crate) fn stop(core: &Bound<'_, Core>, fd: RawFd) -> PyResult<bool> {
    let local = core.get().local(core.py())?;
    Ok(local.remove_listener(fd))
}

impl Listener {
    /// Whether the server still listens: handling the last connection may have closed it.
    fn is_listening(&self, core: &Bound<'_, Core>) -> PyResult<bool> {
        Ok(core.get().local(core.py())?.listeners.contains(self.fd))
    }

    /// Accepts `most` connections; those that wait longer come after what else is ready, or are left to others.
    fn accept(&self, core: &Bound<'_, Core>, most: usize) -> PyResult<()> {
        for attempt in 0..most {
            let Some(now) = self.may_accept(core)? else {
                self.sharing.stopped();
                return Ok(());
            };
            match socket::accept(self.fd) {
                Ok(accepted) => {
                    self.failures.store(0, Ordering::Relaxed);
                    self.sharing.accepted();
                    core.get().shared.meters.accepts.count();
                    if let Err(error) = self.connected(core, accepted, self.door.admit(now)) {
                        refused(core, error)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if attempt == 0 {
                        self.sharing.missed();
                    }
                    return self.drained(core);
                }
                // The peer closed the connection before it was accepted: try the next one.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return self.failed(core, error),
            }
            if !self.is_listening(core)? {
                return Ok(());
            }
        }
        if !self.has_more() {
            return self.drained(core);
        }
        // At most as many as asyncio accepts in one turn, so that other sources run too.
        match self
            .sharing
            .more(self.backlog, monotonic_ns, || socket::waiting(self.fd))
        {
            Some(rest) => self.leave(core, rest),
            None => resume(core, self.fd),
        }
    }

    /// Whether a connection waits. That costs less than an `accept()` that finds none.
    fn has_more(&self) -> bool {
        // Ignored: `accept()` has the error.
        pipe::has_input(self.fd).unwrap_or(true)
    }

    /// Nothing is left to accept.
    fn drained(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        self.sharing.drained();
        self.arm(core)
    }

    /// Has the reactor tell of the next arrival.
    fn arm(&self, core: &Bound<'_, Core>) -> PyResult<()> {
        core.get().local(core.py())?.listeners.drained(self.fd);
        Ok(())
    }

    /// Leaves what waits to other loops, and looks again after `rest`.
    fn leave(&self, core: &Bound<'_, Core>, rest: Duration) -> PyResult<()> {
        self.arm(core)?;
        self.accept_after(core, rest)
    }

    fn accept_after(&self, core: &Bound<'_, Core>, wait: Duration) -> PyResult<()> {
        let py = core.py();
        let wait = make::float(py, wait.as_secs_f64())?.into_any();
        let name = name!(py, "_accept_later");
        call::method(core.as_any(), name, [self.sock.bind(py), &wait]).map(drop)
    }

    /// What to admit another connection with, if the limits let it in; if not, the listener is fired when they do, and
    /// until then the kernel keeps those that wait.
    #[inline]
    fn may_accept(&self, core: &Bound<'_, Core>) -> PyResult<Option<u64>> {
        match self.door.ask(&self.slot) {
            Entry::Accept(now) => Ok(Some(now)),
            entry => self.rest(core, entry).map(|()| None),
        }
    }

    #[cold]
    fn rest(&self, core: &Bound<'_, Core>, entry: Entry) -> PyResult<()> {
        core.get().shared.meters.accept_pauses.count();
        match entry {
            Entry::Later(wait) => self.accept_after(core, wait),
            _ => Ok(()),
        }
    }

    fn connected(
        &self,
        core: &Bound<'_, Core>,
        accepted: (std::os::fd::OwnedFd, socket::Name),
        admission: Admission,
    ) -> PyResult<()> {
        let py = core.py();
        let context = copy(self.context.bind(py))?;
        match &self.then {
            Then::Transport { factory, server } => {
                let protocol = run_in(&context, |py| factory.bind(py).call0())?;
                let server = server.as_ref().map(|server| server.bind(py));
                let room = stream::Room {
                    context,
                    is_given: self.is_servers,
                };
                let (fd, peer) = accepted;
                let accepted = (fd, Some(peer));
                let local = core.get().local(py)?;
                local.limiting.admit(Some(admission));
                let made =
                    stream::from_fd(core, accepted, self.kind, room, &protocol, None, server);
                local.limiting.admit(None); // If there is no transport.
                made.map(drop)
            }
            Then::Call(call) => {
                let (fd, peer) = accepted;
                let address = Address::from(&peer).to_python(py)?;
                let socket = Descriptor::from_fd(fd, self.kind).socket(py)?;
                let call = call.bind(py);
                let admitted = Bound::new(py, Admitted::new(admission))?;
                if self.is_servers {
                    // Not called inside the context: a task that starts eagerly enters it itself.
                    call.call1((socket, address, context, admitted)).map(drop)
                } else {
                    let arguments = (socket, address, py.None(), admitted);
                    run_in(&context, |_| call.call1(arguments)).map(drop)
                }
            }
        }
    }

    /// Reports a failure of `accept()` and tries again in the next turn, because Linux also reports errors of a
    /// waiting connection here, and others wait behind it. Where descriptors or memory are missing, or the failures
    /// go on, it tries again later.
    fn failed(&self, core: &Bound<'_, Core>, error: io::Error) -> PyResult<()> {
        let py = core.py();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let lacks = socket::is_out_of_resources(&error);
        let is_gone = socket::is_not_a_socket(&error);
        let message = if lacks {
            "socket.accept() out of system resource"
        } else {
            "socket.accept() failed"
        };
        // Arm before reporting, because the report may raise.
        let again = if !self.is_listening(core)? {
            Ok(())
        } else if is_gone {
            // The program closed the descriptor; accepting continues if that number ever gets an event.
            core.get().local(py)?.listeners.drained(self.fd);
            Ok(())
        } else if lacks || failures >= MAX_FAILURES {
            self.sharing.failed();
            core.call_method1(name!(py, "_accept_later"), (&self.sock,))
                .map(drop)
        } else {
            resume(core, self.fd)
        };
        let socket = transport_socket(self.sock.bind(py))?;
        let more = [(name!(py, "socket"), Some(&socket))];
        report(core, message, &os_error(error), &more)?;
        again
    }
}

/// A protocol factory raised: closes the connection; the server keeps running.
fn refused(core: &Bound<'_, Core>, error: PyErr) -> PyResult<()> {
    let py = core.py();
    if is_exit(py, &error) {
        return Err(error);
    }
    if !core.get().is_debug() {
        return Ok(()); // asyncio reports nothing here either.
    }
    let message = "Error on transport creation for incoming connection";
    report(core, message, &error, &[])
}

/// Accepts in a later turn, without waiting for the reactor.
pub(crate) fn resume(core: &Bound<'_, Core>, fd: RawFd) -> PyResult<()> {
    let local = core.get().local(core.py())?;
    local.listeners.fire(fd, AGAIN);
    Ok(())
}

impl Source for Listener {
    fn on_ready(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        if !self.is_listening(core)? {
            return Ok(());
        }
        let arrival = if ready & AGAIN != 0 {
            Arrival::Accept(self.sharing.rested(|| socket::waiting(self.fd)))
        } else {
            self.sharing
                .arrived(monotonic_ns, || socket::waiting(self.fd))
        };
        let result = match arrival {
            Arrival::Accept(most) => self.accept(core, most),
            Arrival::Rest(rest) => self.leave(core, rest),
            Arrival::Leave => self.arm(core),
        };
        if result.is_err() {
            // This exception ends the run; the next one must continue, because the reactor would not fire again.
            self.sharing.rested(|| None); // A rest that nothing ends would last for ever.
            if self.has_more() {
                resume(core, self.fd)?;
            } else {
                self.drained(core)?;
            }
        }
        result
    }

    fn on_ready_with_faults(&self, core: &Bound<'_, Core>, ready: u8) -> PyResult<()> {
        if !self.is_listening(core)? {
            return Ok(());
        }
        let result = match faults::of_accept(core, self.sock.bind(core.py())) {
            Ok(None) => return self.on_ready(core, ready),
            Ok(Some(error)) => self.failed(core, error),
            Err(error) => Err(error),
        };
        if result.is_err() {
            resume(core, self.fd)?; // As above.
        }
        result
    }

    fn traced(&self, core: &Bound<'_, Core>, _ready: u8) -> PyResult<(Kind, Option<Called>)> {
        let (Then::Transport { factory: then, .. } | Then::Call(then)) = &self.then;
        let called = naming::of_callback(then.bind(core.py()))?;
        Ok((Kind::Accept, Some(called)))
    }

    fn objects(&self, _stopped: Stopped<'_>, visit: Visit<'_>) {
        let (then, server) = match &self.then {
            Then::Transport { factory, server } => (factory, server.as_ref()),
            Then::Call(call) => (call, None),
        };
        [&self.sock, then, &self.context]
            .into_iter()
            .chain(server)
            .for_each(visit);
    }
}

/// The loop's own word to a listener that it accept now; the reactor never says that a listening socket is writable.
const AGAIN: u8 = WRITE;
/// Consecutive errors after which accepting is retried only after a delay, so that a broken socket does not keep the
/// loop busy, as it does in asyncio.
const MAX_FAILURES: usize = 16;
