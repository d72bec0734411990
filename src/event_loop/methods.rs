//! The methods that are not performance-critical: each parses its arguments, calls, and returns.

use std::path::PathBuf;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::schedule;
use crate::errors::os_error;
use crate::ffi::handle::{self, Handle};
use crate::ffi::{make, name};
use crate::scheduler::{self, Core, origin, shedding};
use crate::sock::connection::{self, Connection};
use crate::sys::clock::{monotonic_ns, nanoseconds};
use crate::sys::socket;
use crate::transports::gates::{Admitted, ServerGate, Times, limits_of};
use crate::transports::listener::{self, Then};
use crate::transports::tls::session::{Session, SessionParts};
use crate::transports::tls::{self, Timeouts};
use crate::transports::{clients, datagram, pipe, stream};

#[pymethods]
impl Core {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn create(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let (py, stock) = (class.py(), class.py().get_type::<Self>());
        let is_own = |name| PyResult::Ok(!class.getattr(name)?.is(&stock.getattr(name)?));
        Self::new(
            is_own(name!(py, "time"))?,
            is_own(name!(py, "_task_factory"))?,
        )
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.traverse(&visit)
    }

    fn __clear__(&self, py: Python<'_>) -> PyResult<()> {
        drop(self.task_factory.set(None));
        self.close(py)
    }

    /// Add the methods that are called most often to this class, too.
    #[classmethod]
    fn _take_hot_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
        super::add_hot_methods(class)
    }

    /// Use Python's `time()` as the clock from now on.
    fn _use_own_clock(&self, py: Python<'_>) -> PyResult<()> {
        self.local(py)?.use_own_clock();
        Ok(())
    }

    /// Ask `_advance()` before each wait; for `yamanote.testing`, as the next five.
    fn _use_virtual_time(&self, py: Python<'_>) -> PyResult<()> {
        self.local(py)?.testing.use_virtual_time();
        Ok(())
    }

    /// Ask `_arrange()` for the order of each pass.
    fn _arrange_passes(&self, py: Python<'_>) -> PyResult<()> {
        self.arrange(&*self.local(py)?);
        Ok(())
    }

    /// Ask `_faults` what becomes of each read, write and connection, or no longer.
    fn _use_faults(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        drop(self.local(py)?);
        self.set_faults(enabled);
        Ok(())
    }

    /// Have a stream transport read (`1`) or write (`2`) in a coming pass.
    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn _fire(&self, transport: &Bound<'_, PyAny>, ready: u8) -> PyResult<()> {
        stream::faulty::fire(transport, ready)
    }

    /// The faults are over: have a stream transport send what they have kept, and read in a coming pass.
    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn _let_go(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        stream::faulty::let_go(transport)
    }

    /// What may wake the loop besides transports: the number of listening sockets, of other descriptors, and of
    /// pending Rust futures.
    fn _count_sources(&self, py: Python<'_>) -> PyResult<(usize, usize, usize)> {
        Ok(self.local(py)?.count_sources())
    }

    /// Whether a callback is queued, or another thread has left one.
    fn _has_calls(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.local(py)?.ready_count() > 0 || self.shared.inbox.is_filled())
    }

    /// Every timer that was not cancelled.
    fn _pending_timers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.local(py)?.deadlines.pending(py)
    }

    /// Every transport that is open.
    fn _transports<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.local(py)?.transports(py)
    }

    /// Remove the file of a Unix server, unless another server has replaced it.
    #[expect(clippy::unused_self, reason = "Python calls it as a method")]
    fn _remove_socket_file(&self, path: PathBuf, inode: u64) -> PyResult<()> {
        socket::remove_file(&path, inode).map_err(os_error)
    }

    /// Stop after the current pass, or after one pass of the next run.
    #[pyo3(name = "stop")]
    fn py_stop(&self) {
        self.stop();
    }

    #[pyo3(name = "_check_closed")]
    fn py_check_closed(&self) -> PyResult<()> {
        self.check_closed()
    }

    /// Raise `RuntimeError` if another thread runs the loop.
    fn _check_thread(&self, py: Python<'_>) -> PyResult<()> {
        schedule::check_thread(py, self)
    }

    #[getter]
    fn _debug(&self) -> bool {
        self.is_debug()
    }

    #[setter(_debug)]
    fn py_set_debug(&self, enabled: bool) {
        self.set_debug(enabled);
    }

    /// Remember, for each task and handle, so many lines of the program that created it; 0 for none. The first call
    /// says which folders have the files that are not the program's.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts it")]
    #[pyo3(signature = (lines, libraries, /))]
    fn _remember_origins(&self, lines: usize, libraries: Vec<Bound<'_, PyString>>) {
        origin::set_libraries(&libraries);
        self.shared.traces.set_lines(lines);
    }

    /// What `set_task_factory()` has set.
    #[getter]
    fn _task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.task_factory.get(py)
    }

    #[setter(_task_factory)]
    fn py_set_task_factory(&self, factory: Option<Py<PyAny>>) {
        drop(self.task_factory.set(factory));
    }

    /// `threading.get_ident()` of the thread that runs the loop, or `None`.
    #[getter]
    fn _thread_id(&self) -> Option<usize> {
        self.owner().running_thread()
    }

    #[setter(_thread_id)]
    #[expect(clippy::unused_self, reason = "a setter is a method")]
    fn set_thread_id(&self, _value: Option<usize>) {
        // `BaseEventLoop.__init__` writes `None`, but the loop tracks its thread itself.
    }

    /// Run until stopped. `run_forever()` does the rest of its set-up and clean-up.
    fn _run(this: &Bound<'_, Self>) -> PyResult<()> {
        scheduler::run(this, false, None)
    }

    /// Run until `until` is done or the loop is stopped; also inside a callback of this loop.
    fn _run_nested(this: &Bound<'_, Self>, until: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        scheduler::run(this, true, until)
    }

    /// Make signals end the loop's waits through `fd`, -1 for none. Returns the previous descriptor.
    fn _hear_signals(&self, py: Python<'_>, fd: i32) -> PyResult<i32> {
        Ok(self.local(py)?.signals.hear(fd))
    }

    /// The program's descriptor of `signal.set_wakeup_fd()` during the last wait, or `None`.
    fn _displaced_wakeup_fd(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        Ok(self.local(py)?.signals.displaced())
    }

    /// Drop everything scheduled and shut the reactor down.
    fn _close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_running() {
            return Err(PyRuntimeError::new_err("Cannot close a running event loop"));
        }
        self.close(py)
    }

    /// Called in a forked child that has one thread: do not touch the parent's reactor from now on.
    fn _forked(&self, py: Python<'_>) {
        self.forked(py);
    }

    /// Send what the current callback has written so far, without waiting for its end. No-op on any other thread.
    fn _send_written(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, core) = (this.py(), this.get());
        if core.owner().is_running_here(py) {
            core.local(py)?.callback_over(this)
        } else {
            Ok(())
        }
    }

    /// Queue a handle made by `_make_handle`; may be called from any thread.
    fn _add_callback(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        schedule::enqueue(self, own_handle(handle)?)?;
        self.shared.inbox.wake();
        Ok(())
    }

    /// Allow other code to watch `fd` while its transport sends a file.
    fn _release_fd(&self, py: Python<'_>, fd: i32) -> PyResult<()> {
        self.local(py)?.claims.release(fd);
        Ok(())
    }

    /// Reserve `fd` for its transport again.
    fn _claim_fd(&self, py: Python<'_>, fd: i32) -> PyResult<()> {
        self.local(py)?.claims.claim(fd);
        Ok(())
    }

    /// Create a transport for a connected stream socket; `waiter` is completed after `connection_made`.
    #[pyo3(signature = (sock, protocol, waiter=None, *, extra=None, server=None, context=None))]
    fn _make_socket_transport<'py>(
        this: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
        server: Option<&Bound<'py, PyAny>>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        stream::from_socket(this, sock, protocol, waiter, extra, server, context)
    }

    /// Begin to connect a TCP socket to a numeric address; `None` for any other.
    fn _begin_connection(
        this: &Bound<'_, Self>,
        address: &Bound<'_, PyAny>,
        proto: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Connection>> {
        connection::begin(this, address, proto)
    }

    /// Connect a new socket to a socket file; `None` where asyncio's own way must be taken.
    fn _connect_unix(
        this: &Bound<'_, Self>,
        path: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Connection>> {
        connection::connect_unix(this, path)
    }

    /// Create a transport for an open connection; `waiter` is completed after `connection_made`.
    #[pyo3(signature = (connection, protocol, waiter, context=None))]
    fn _make_connection_transport<'py>(
        this: &Bound<'py, Self>,
        connection: &Bound<'py, Connection>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        connection::make_transport(this, connection.get(), protocol, waiter, context)
    }

    /// Create a transport that reads from a pipe; `waiter` is completed after `connection_made`.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_read_pipe_transport<'py>(
        this: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        pipe::open::<pipe::read::ReadSide>(this, pipe, protocol, waiter, extra)
    }

    /// Create a transport that writes to a pipe; `waiter` is completed after `connection_made`.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_write_pipe_transport<'py>(
        this: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        pipe::open::<pipe::write::WriteSide>(this, pipe, protocol, waiter, extra)
    }

    /// Create a transport for a datagram socket; `waiter` is completed after `connection_made`.
    #[pyo3(signature = (sock, protocol, address=None, waiter=None, extra=None))]
    fn _make_datagram_transport<'py>(
        this: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        datagram::from_socket(this, sock, protocol, address, waiter, extra)
    }

    /// Create a TLS transport, the protocol of a stream transport; `None` if the session is not a plain
    /// `ssl.SSLObject`.
    fn _make_tls_transport<'py>(
        this: &Bound<'py, Self>,
        protocol: &Bound<'py, PyAny>,
        session: (
            Bound<'py, PyAny>,
            Bound<'py, PyAny>,
            [Py<PyAny>; 2],
            Bound<'py, PyAny>,
        ),
        timeouts: (Py<PyAny>, Py<PyAny>),
        extra: Bound<'py, PyDict>,
        waiter: Option<Bound<'py, PyAny>>,
        make_connection: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (context, wrap, [incoming, outgoing], guard) = session;
        let session = Session::new(SessionParts {
            context,
            wrap,
            incoming,
            outgoing,
            guard,
        })?;
        let Some(session) = session else {
            return Ok(None);
        };
        let (handshake, shutdown) = timeouts;
        let timeouts = Timeouts {
            handshake,
            shutdown,
        };
        tls::new(
            this,
            protocol,
            session,
            extra,
            timeouts,
            waiter,
            make_connection,
        )
        .map(Some)
    }

    /// Accept connections on a listening socket until `_stop_listening`.
    fn _listen(
        this: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        protocol_factory: &Bound<'_, PyAny>,
        server: Option<&Bound<'_, PyAny>>,
        backlog: i64,
        context: Option<&Bound<'_, PyAny>>,
        gate: &Bound<'_, ServerGate>,
    ) -> PyResult<()> {
        let then = Then::Transport {
            factory: protocol_factory.clone().unbind(),
            server: server.map(clients::enlist).transpose()?,
        };
        listener::listen(this, sock, then, accepts(backlog), context, gate.get())
    }

    /// Accept connections on a listening socket until `_stop_listening`, and call `accepted(socket, address, context,
    /// admitted)`.
    fn _listen_and_call(
        this: &Bound<'_, Self>,
        sock: &Bound<'_, PyAny>,
        accepted: Py<PyAny>,
        backlog: i64,
        context: Option<&Bound<'_, PyAny>>,
        gate: &Bound<'_, ServerGate>,
    ) -> PyResult<()> {
        let then = Then::Call(accepted);
        listener::listen(this, sock, then, accepts(backlog), context, gate.get())
    }

    /// Make the native part of a server's limits.
    #[staticmethod]
    fn _make_gate() -> ServerGate {
        ServerGate::default()
    }

    /// The next transport is that of this accepted connection; `None` takes that back.
    fn _admit(&self, py: Python<'_>, admitted: Option<&Bound<'_, Admitted>>) -> PyResult<()> {
        let admission = admitted.and_then(|admitted| admitted.get().take());
        self.local(py)?.limiting.admit(admission);
        Ok(())
    }

    /// Set the limits of the whole loop: connections, connections a second, times, and bytes that wait to be sent;
    /// return whether so many wait already that `_watch_pressure()` is to be called.
    fn _limit_connections(
        &self,
        py: Python<'_>,
        most: Option<usize>,
        rate: Option<f64>,
        times: Option<Times>,
        buffered: u64,
    ) -> PyResult<bool> {
        let local = self.local(py)?;
        local.limiting.gate().set(most, rate, times.map(limits_of));
        let meters = &self.shared.meters;
        meters
            .pressure
            .set_bound(buffered, meters.buffered_bytes.get());
        Ok(meters.pressure.take_risen())
    }

    /// While too many bytes wait to be sent: have the protocols of slow peers pause, if that `has_risen`, and others
    /// resume; return whether it lasts.
    fn _press(this: &Bound<'_, Self>, has_risen: bool) -> PyResult<bool> {
        shedding::press(this, has_risen)
    }

    /// End the connections that have exceeded a limit; return the seconds until the next look, 0 for none.
    fn _shed<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let wait = f64::from(shedding::shed(this)?) / 1e3;
        Ok(make::float(this.py(), wait)?.into_any())
    }

    /// Call `_look()` in so many seconds, and not later; `False` where the loop's time is not the kernel's.
    fn _look_in(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let local = self.local(py)?;
        let is_kernels = !local.has_own_clock() && !local.testing.has_virtual_time();
        if is_kernels {
            let deadline = monotonic_ns().saturating_add(nanoseconds(seconds));
            local.deadlines.look_at(deadline);
        }
        Ok(is_kernels)
    }

    /// Keep the connections of a server whose listener is none of `_listen`.
    #[staticmethod]
    fn _keep_clients(server: &Bound<'_, PyAny>) -> PyResult<()> {
        clients::prepare(server)
    }

    /// Accept again, after a failure.
    fn _resume_listening(this: &Bound<'_, Self>, fd: i32) -> PyResult<()> {
        listener::resume(this, fd)
    }

    /// Stop accepting on a socket. Returns whether it was listening.
    fn _stop_listening(this: &Bound<'_, Self>, fd: i32) -> PyResult<bool> {
        listener::stop(this, fd)
    }
}

/// The number of connections to accept in one turn. The kernel treats a negative backlog as zero.
fn accepts(backlog: i64) -> usize {
    usize::try_from(backlog).unwrap_or(0)
}

fn own_handle<'a, 'py>(handle: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Handle>> {
    handle::downcast(handle)
        .ok_or_else(|| PyTypeError::new_err("a handle made by this loop is required"))
}
