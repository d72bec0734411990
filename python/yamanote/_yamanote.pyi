"""The native half of yamanote: the loop's core, handles and transports.

`yamanote.Loop` inherits from `Core`, and its methods return instances of the other classes. Unless
stated otherwise here, names behave as asyncio documents them. Times are seconds (`float`) on
`Core.time()`, sizes are bytes.

Unless marked "From any thread", methods of a loop must be called on the thread that runs it. On
another thread they raise `RuntimeError` before they access state that the running loop uses.
"""

# ruff: noqa: PYI021 - the docstrings of this stub are the manual of the native module.

import asyncio
import socket
import ssl
import sys
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextvars import Context
from enum import Enum
from traceback import StackSummary
from types import CodeType, TracebackType
from typing import Any, ClassVar, NoReturn, Protocol, Self, TypeAlias, TypeVar, final

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer
from typing_extensions import TypeVarTuple, Unpack, disjoint_base

from yamanote._limits import Limits

__all__ = [
    "Admitted",
    "Connection",
    "Core",
    "DatagramTransport",
    "Handle",
    "ReadPipeTransport",
    "Recording",
    "Resolver",
    "SSLTransport",
    "ServerGate",
    "SockCall",
    "SocketTransport",
    "StreamCall",
    "TimerHandle",
    "Watcher",
    "WritePipeTransport",
    "__version__",
    "_calls_openssl",
    "_finish_detached_writes",
    "_listen_for_signal",
    "_listen_in_child",
    "_live_futures",
    "_note_collection",
    "_tokio_version",
    "_wait_for_signal",
]

__version__: str
"""The version of the package, equal to the one in its metadata."""

_tokio_version: str
"""The version of tokio that the package is made with."""

def _calls_openssl() -> bool:
    """Return whether TLS calls OpenSSL directly, without `_ssl`; see `YAMANOTE_NO_OPENSSL`."""

def _finish_detached_writes() -> None:
    """Wait, before a fork, until no thread encrypts without the GIL."""

def _listen_for_signal(number: int, /) -> None:
    """Let a signal end `_wait_for_signal()`, in place of what it did; from any thread.

    Raises:
        OSError: it is no signal, or it cannot be caught.
    """

def _listen_in_child() -> None:
    """Forget the signals that came before a fork; before a thread of the child waits.

    Raises:
        OSError: there is no memory.
    """

def _live_futures() -> int:
    """Return the number of Rust futures of extensions that have not been dropped."""

def _note_collection(phase: str, info: object, /) -> None:
    """Count the time of garbage collections; for `gc.callbacks`.

    Args:
        phase: "start" or "stop"; "forget" forgets a collection that goes on.
        info: ignored.
    """

def _wait_for_signal() -> float:
    """Wait until the signal has come since the last call, in one thread only.

    Returns:
        The seconds that it took until Python could run again.
    """

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: Numbers of `yamanote.LoopMetrics`: the first three are nanoseconds; the last two are the buckets
#: and the sum of a histogram, in nanoseconds.
Meters: TypeAlias = tuple[Any, ...]

#: An event of a trace: when it began and when it ended, in nanoseconds of `time.monotonic_ns()`;
#: the kernel's number of the thread; the kind; the name, the code of what was called, the name of
#: the task, each `None` if it has none.
TraceEvent: TypeAlias = tuple[int, int, int, str, str | None, CodeType | None, str | None]

class _File(Protocol):
    """The methods of a file object that a pipe transport uses."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...

# What `create_task()` accepts.
_Coroutine: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]

@disjoint_base
class Core:
    """The native part of an event loop: scheduling, timers, descriptors, accepting.

    `yamanote.Loop` adds what runs once per loop, server or connection; a `Core` alone is not a
    complete event loop. Instances of subclasses have a `__dict__`.
    """

    __yamanote_c_api__: ClassVar[object]
    """The capsule with the loop's functions for extensions; `get_include()` has its header."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Create a core that is neither running nor closed; arguments are left to `__init__`.

        If a subclass overrides `time`, the core calls that method; otherwise it uses its own clock.

        Raises:
            OSError: the process has too few free descriptors.
        """

    def _count_sent(self, size: int, /) -> None:
        """Count bytes that the kernel took past the native transports."""

    def _running_thread(self) -> tuple[int, int] | None:
        """Return `threading.get_ident()` and `get_native_id()` of the thread that runs the loop."""

    def _read_meters(self) -> Meters:
        """Return the numbers of `yamanote.LoopMetrics`, in its order; times in nanoseconds."""

    def _start_trace(self, events: int, /) -> Recording:
        """Record what the loop does from now on. From any thread.

        Args:
            events: how many events to keep, the last ones.
        """

    def _stop_trace(self) -> None:
        """Record no more. From any thread."""

    def time(self) -> float:
        """Return the time in seconds, on the clock of `time.monotonic()`."""

    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call `callback(*args)` in the next pass of the loop, in the order of the calls.

        Args:
            callback: any callable; debug mode refuses coroutines and coroutine functions.
            args: the positional arguments of `callback`.
            context: the context that it runs in; `None` means a copy of the current context.

        Raises:
            RuntimeError: the loop is closed; in debug mode also if another thread is running it.
            TypeError: in debug mode: `callback` is not callable, or is a coroutine (function).
        """

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call `callback(*args)` in the next pass of the loop, and wake the loop. From any thread.

        Arguments and exceptions are those of `call_soon`, without its check of the thread.
        """

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` after `delay` seconds, never earlier.

        Args:
            delay: seconds; zero and negative numbers are due in a later pass, infinity never.
            callback: as for `call_soon`.
            args: as for `call_soon`.
            context: as for `call_soon`.

        Raises:
            RuntimeError: the loop is closed, or another thread is running it.
            TypeError: `delay` is not a number; in debug mode also as for `call_soon`.
        """

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` when `time()` has reached `when`, never earlier.

        Args:
            when: seconds on `time()`; a time in the past is due in a later pass, infinity never.
            callback: as for `call_soon`.
            args: as for `call_soon`.
            context: as for `call_soon`.

        Raises:
            RuntimeError: the loop is closed, or another thread is running it.
            TypeError: `when` is not a number; in debug mode also as for `call_soon`.
        """

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new `asyncio.Future` attached to this loop."""

    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _Coroutine[_T],
            *,
            name: object = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> asyncio.Task[_T]:
            """Run a coroutine as an `asyncio.Task`, or as the task that the task factory returns.

            Args:
                coro: the coroutine to run.
                name: the task's name; `None` means a numbered default name.
                context: the context that it runs in; `None` means a copy of the current context.
                eager_start: whether to start it at once; `None` means the default of `Task`.

            Raises:
                RuntimeError: the loop is closed.
                TypeError: `coro` is not a coroutine, or `Task` has no such keyword on this Python.
            """
    else:
        def create_task(
            self, coro: _Coroutine[_T], *, name: object = None, context: Context | None = None
        ) -> asyncio.Task[_T]:
            """Run a coroutine as an `asyncio.Task`, or as the task that the task factory returns.

            Args:
                coro: the coroutine to run.
                name: the task's name; `None` means a numbered default name.
                context: the context that it runs in; `None` means a copy of the current context.

            Raises:
                RuntimeError: the loop is closed.
                TypeError: `coro` is not a coroutine.
            """

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive from a non-blocking socket; return `b""` at the end of the stream.

        All `sock_*` calls start when they are awaited, and try the system call before they wait.
        Cancelling one loses no data. Several calls may wait for one socket; all of them complete,
        in unspecified order. After `add_reader` on the same descriptor they never complete, as in
        asyncio.

        Args:
            sock: the socket, or an object with the methods of `socket.socket`.
            n: the maximum number of bytes.

        Raises:
            TypeError: the socket is an `ssl.SSLSocket`.
            ValueError: in debug mode: the socket is blocking.
            RuntimeError: the call would have to wait, but a transport owns the descriptor or the
                loop is closed.
            OSError: the system call failed.
        """

    async def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> int:
        """Like `sock_recv`, into a buffer; return the number of bytes, 0 at the end of stream."""

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Like `sock_recv`, for a datagram; return `(data, address)` with the sender's address."""

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Like `sock_recvfrom`, into a buffer; return `(number of bytes, address)`.

        Args:
            sock: the socket.
            buf: a writable buffer.
            nbytes: the maximum number of bytes; 0 means the size of `buf`.
        """

    async def sock_sendall(self, sock: socket.socket, data: ReadableBuffer) -> None:
        """Send all of `data`, which must not change meanwhile; raises like `sock_recv`."""

    async def sock_sendto(
        self,
        sock: socket.socket,
        data: ReadableBuffer,
        address: tuple[Any, ...] | str | ReadableBuffer,
    ) -> int:
        """Send a datagram to `address`; return the number of bytes. Raises like `sock_recv`."""

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection; return its non-blocking socket and the peer's address.

        Raises like `sock_recv`.
        """

    def stop(self) -> None:
        """Stop after the current pass; if the loop is not running, after the next run's first."""

    def is_running(self) -> bool:
        """Return whether a thread is running the loop. From any thread."""

    def is_closed(self) -> bool:
        """Return whether `close()` was called. From any thread."""

    def get_debug(self) -> bool:
        """Return whether debug mode is on. From any thread."""

    # Called by the Python parts of `Loop`, and by the code that it inherits from asyncio.

    @classmethod
    def _take_hot_methods(cls) -> None:
        """Add the methods that are called most often to this class, too, for a quicker call."""
    @property
    def _debug(self) -> bool:
        """Whether debug mode is on."""
    @_debug.setter
    def _debug(self, enabled: bool) -> None: ...
    @property
    def _task_factory(self) -> object:
        """What `set_task_factory()` has set, or `None`. From any thread."""
    @_task_factory.setter
    def _task_factory(self, factory: object) -> None: ...
    @property
    def _thread_id(self) -> int | None:
        """`threading.get_ident()` of the thread that is running the loop; `None` if none is.

        Setting it has no effect: asyncio's base class sets it, but the core keeps its own value.
        """
    @_thread_id.setter
    def _thread_id(self, _value: int | None) -> None: ...
    def _run(self) -> None:
        """Run until stopped, or until a callback raises an exception that is no `Exception`.

        Raises:
            RuntimeError: the loop is closed or running.
        """

    def _run_nested(self, until: object) -> None:
        """Run until stopped, or until the future `until` is done if it is not `None`.

        May be called in a callback of this loop. A `stop()` that ends such a nested run with a
        future also stops the enclosing run.

        Raises:
            RuntimeError: the loop is closed, or is running on another thread.
        """

    def _hear_signals(self, fd: int) -> int:
        """Set the wakeup fd for the loop's waits, -1 for none; return the previous one.

        Only while the loop waits, `fd` replaces the one set with `signal.set_wakeup_fd()`. To be
        called on the main thread.
        """

    def _displaced_wakeup_fd(self) -> int | None:
        """Return the wakeup fd that the last wait replaced; `None` before the first wait."""

    def _close(self) -> None:
        """Discard everything scheduled and close the reactor; a second call does nothing.

        Raises:
            RuntimeError: the loop is running.
        """

    def _check_closed(self) -> None:
        """Raise `RuntimeError` if the loop is closed."""

    def _check_thread(self) -> None:
        """Raise `RuntimeError` if another thread is running the loop."""

    def _remember_origins(self, lines: int, libraries: Sequence[str], /) -> None:
        """Remember the lines of the program that create each task and handle.

        Args:
            lines: how many, from the innermost outwards; 0 for none.
            libraries: folders whose files are not the program's, each with a separator at its
                end. Only those of the first call count.
        """

    def _remove_socket_file(self, path: str, inode: int) -> None:
        """Remove the socket file of a Unix server, unless `path` now has another inode.

        Raises:
            OSError: stat() or unlink() failed, for example because there is no such file.
        """

    def _use_own_clock(self) -> None:
        """Use Python's `self.time()` as the scheduler's clock from now on."""

    def _use_virtual_time(self) -> None:
        """Ask `self._advance(deadline, progressed)` before each wait from now on.

        It is given the deadline of the next timer, or `None`, and whether anything has run since
        the last call. It returns how many seconds to wait really: 0 for a look without a wait,
        `None` for no limit.
        """

    def _arrange_passes(self) -> None:
        """Ask `self._arrange(entries, origins)` for the order of each pass from now on.

        An entry is a handle, `True` for a native call that takes the place of one, or `None` for an
        event; its origin is the place of the entry of the last pass that has scheduled it, or
        `None` if that was none. The result has each index once.
        """

    def _use_faults(self, enabled: bool) -> None:
        """Ask `self._faults` what becomes of each read, write and connection, or no longer.

        Raises:
            RuntimeError: the loop runs in another thread.
        """

    def _fire(self, transport: asyncio.BaseTransport, ready: int) -> None:
        """Have a stream transport read (1), write (2) or both (3) in a coming pass."""

    def _let_go(self, transport: asyncio.BaseTransport) -> None:
        """Have a stream transport send what it has kept, and read in a coming pass."""

    def _count_sources(self) -> tuple[int, int, int]:
        """Return what may wake the loop besides transports.

        Returns:
            The number of listening sockets, of other watched descriptors, and of pending Rust
            futures.
        """

    def _has_calls(self) -> bool:
        """Return whether a callback is queued, or another thread has left one."""

    def _pending_timers(self) -> list[TimerHandle]:
        """Return every timer that was not cancelled, in no order."""

    def _transports(self) -> list[asyncio.BaseTransport]:
        """Return every transport that is open."""

    def _make_handle(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Return a handle that is not queued, for `_add_callback`."""

    def _send_written(self) -> None:
        """Send what the callback that is running on this thread has written so far."""

    def _forked(self) -> None:
        """Mark the loop as inherited from the parent; called in a forked, single-threaded child."""

    def _add_callback(self, handle: Handle) -> None:
        """Queue a handle for the next pass, and wake the loop. From any thread.

        Raises:
            TypeError: `handle` was not created by a loop of this package.
        """

    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Call `callback(*args)` whenever `fd` is readable; replaces an existing reader.

        Raises:
            ValueError: `fd` is not a descriptor.
            RuntimeError: a transport owns it, or the loop is closed.
            OSError: the kernel cannot watch it, as with a regular file on Linux.
        """

    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Call `callback(*args)` whenever `fd` is writable; replaces an existing writer.

        Raises:
            ValueError: `fd` is not a descriptor.
            RuntimeError: a transport owns it, or the loop is closed.
            OSError: the kernel cannot watch it, as with a regular file on Linux.
        """

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Stop watching `fd` for reading; return whether it was watched.

        Raises:
            ValueError: `fd` is neither a descriptor nor an object that was watched while open.
            RuntimeError: a transport owns it.
        """

    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Stop watching `fd` for writing; return whether it was watched.

        Raises:
            ValueError: `fd` is neither a descriptor nor an object that was watched while open.
            RuntimeError: a transport owns it.
        """

    def _add_reader(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> Handle:
        """Do as `add_reader`, also for the descriptor of a transport; return the handle."""

    def _add_writer(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> Handle:
        """Do as `add_writer`, also for the descriptor of a transport; return the handle."""

    def _remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Do as `remove_reader`, also for the descriptor of a transport."""

    def _remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Do as `remove_writer`, also for the descriptor of a transport."""

    def _ensure_fd_no_transport(self, fd: FileDescriptorLike) -> None:
        """Raise `RuntimeError` if `fd` belongs to a transport that is not closed."""

    def _release_fd(self, fd: int) -> None:
        """Allow other code to wait for a transport's `fd`, while that sends a file."""

    def _claim_fd(self, fd: int) -> None:
        """Reserve `fd` for its transport again, so that other code cannot wait for it."""

    async def _sock_writable(self, sock: socket.socket | Connection) -> None:
        """Wait until a socket is writable or connected.

        Raises:
            RuntimeError: the loop is closed, or a transport owns the descriptor.
        """

    def _begin_connection(self, address: tuple[object, ...], proto: int) -> Connection | None:
        """Begin to connect a new, non-blocking TCP socket.

        Args:
            address: `(host, port)`, or for IPv6 `(host, port, flow, scope)`.
            proto: as `getaddrinfo` returns it.

        Returns:
            `None` unless the host is numeric and the other parts are in range.

        Raises:
            OSError: the socket could not be created, or the kernel refused at once.
        """

    def _connect_unix(self, path: object) -> Connection | None:
        """Connect a new, non-blocking socket to a socket file.

        Returns:
            `None` unless `path` is `bytes` or an ASCII `str`, and fits into an address; abstract
            names are no paths.

        Raises:
            BlockingIOError: the listener's queue is full.
            OSError: the socket could not be created or connected.
        """

    def _make_connection_transport(
        self,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        context: Context | None = None,
    ) -> SocketTransport:
        """Return a transport over an open connection, which it will close.

        Otherwise like `_make_socket_transport`. On failure, the connection is closed.

        Raises:
            OSError: the connection is closed.
            RuntimeError: the loop is closed.
        """

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
        server: object = None,
        context: Context | None = None,
    ) -> SocketTransport:
        """Return a transport over a connected, non-blocking stream socket, which it will close.

        Args:
            sock: the socket.
            protocol: `connection_made` is called in the next pass, before anything is read.
            waiter: completed after `connection_made` was called.
            extra: a `dict` of further values for `get_extra_info`.
            server: an `asyncio.Server`, which attaches the transport now and detaches it when the
                connection is lost; `None` for a client.
            context: the context in which all methods of the protocol run. `None` means a copy of
                the current context, except that `connection_lost` then runs in the context of the
                code that ended the connection.

        Raises:
            RuntimeError: the loop is closed, or a transport owns the descriptor.
        """

    def _make_read_pipe_transport(
        self,
        pipe: _File,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        """Return a transport that reads from a file object, which it makes non-blocking and closes.

        Args:
            pipe: a pipe, FIFO, socket or terminal.
            protocol: `connection_made` is called in the next pass, before anything is read.
            waiter: completed after `connection_made` was called.
            extra: a `dict` of further values for `get_extra_info`; `pipe` is added to it.

        Raises:
            RuntimeError: the loop is closed.
            ValueError: `pipe` is a regular file.
        """

    def _make_write_pipe_transport(
        self,
        pipe: _File,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport:
        """Return a transport that writes to a file object, which it makes non-blocking and closes.

        Arguments and exceptions are those of `_make_read_pipe_transport`.
        """

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: object = None,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> DatagramTransport:
        """Return a transport over a non-blocking datagram socket, which it will close.

        Args:
            sock: the socket.
            protocol: `connection_made` is called in the next pass, before anything is received.
            address: the destination of every datagram; `None` if each `sendto` names its own.
            waiter: completed after `connection_made` was called.
            extra: a `dict` of further values for `get_extra_info`.

        Raises:
            RuntimeError: the loop is closed.
        """

    def _make_tls_transport(
        self,
        protocol: asyncio.BaseProtocol,
        session: tuple[
            ssl.SSLContext,
            Callable[[], ssl.SSLObject],
            tuple[ssl.MemoryBIO, ssl.MemoryBIO],
            Callable[[Any], object],
        ],
        timeouts: tuple[float, float],
        extra: dict[str, Any],
        waiter: asyncio.Future[None] | None,
        make_connection: bool,
    ) -> SSLTransport | None:
        """Return a TLS transport, which serves as the protocol of a stream transport.

        Args:
            protocol: the application's protocol.
            session: the context; a function that creates the session from it; the `MemoryBIO`s for
                incoming and outgoing data that this function uses; and a function that wraps the
                native half of the session for the application.
            timeouts: seconds for the handshake and for the shutdown.
            extra: a `dict` of further values for `get_extra_info`.
            waiter: completed with the outcome of the handshake.
            make_connection: whether to call `connection_made` after the handshake.

        Returns:
            The transport, or `None` if the session is not a plain `ssl.SSLObject`.
        """

    def _listen(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: object,
        backlog: int,
        context: Context | None,
        gate: ServerGate,
    ) -> None:
        """Accept connections on a listening, non-blocking socket until `_stop_listening`.

        Args:
            sock: the socket; it remains the caller's.
            protocol_factory: called for each connection.
            server: the `asyncio.Server` that attaches each transport, or `None`.
            backlog: the maximum number of connections accepted per pass; less than 1 means 1.
            context: copied for each connection, whose protocol's methods all run in the copy.
                `None` means the current context, as in `_make_socket_transport`.
            gate: the limits of the server.

        Raises:
            RuntimeError: the loop is closed.
        """

    def _listen_and_call(
        self,
        sock: socket.socket,
        accepted: Callable[
            [socket.socket, tuple[Any, ...] | None, Context | None, Admitted], object
        ],
        backlog: int,
        context: Context | None,
        gate: ServerGate,
    ) -> None:
        """As `_listen`, but call `accepted(socket, address, context, admitted)`.

        The address is `None` if it is not an internet address. The context is a copy for this
        connection, or `None` if none was given.
        """

    @staticmethod
    def _keep_clients(server: object) -> None:
        """Give a server that is about to listen, if it is asyncio's or ours, a set of clients."""

    @staticmethod
    def _make_gate() -> ServerGate:
        """Make the native part of a server's limits."""

    def _admit(self, admitted: Admitted | None) -> None:
        """Have the stream that is created next be that of an accepted connection.

        `None` takes that back, if no stream was created.
        """

    def _limit_connections(
        self,
        most: int | None,
        rate: float | None,
        times: tuple[int, int, int, int] | None,
        buffered: int,
    ) -> bool:
        """Set the limits of the loop; see `yamanote.Limits`.

        Args:
            most: open connections.
            rate: accepted connections a second.
            times: `first_byte`, `handshake`, `write_stall` and `idle` in milliseconds; 0 is no
                limit.
            buffered: bytes that wait to be sent; 0 is no limit.
        """

    def _press(self, has_risen: bool) -> bool:
        """While too many bytes wait to be sent: have slow peers' protocols pause, others resume.

        Args:
            has_risen: look for slow peers among all connections.

        Returns:
            Whether too many bytes wait.
        """

    def _look_in(self, seconds: float) -> bool:
        """Call `_look()` in so many seconds; `False` where the loop's time is not the kernel's."""

    def _shed(self) -> float:
        """End the connections that exceed a time limit.

        Returns:
            After how many seconds to look again; 0 while no connection has such a limit.
        """

    def _resume_listening(self, fd: int) -> None:
        """Accept again after a failure, in a later pass."""

    def _stop_listening(self, fd: int) -> bool:
        """Stop accepting on `fd`; return whether it was listened on."""

@final
class Handle(asyncio.Handle):
    """A callback that the loop will run; created by `call_soon`, not by calling the class."""

    def cancel(self) -> None:
        """Keep the callback from running, and release it and its arguments at once."""

    def cancelled(self) -> bool:
        """Return whether `cancel()` was called."""

    def get_context(self) -> Context:
        """Return the context that the callback runs in. Also exists before Python 3.12."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _callback(self) -> Callable[..., object] | None:
        """The callback; `None` once cancelled."""
    @property
    def _args(self) -> tuple[Any, ...] | None:  # type: ignore[override]
        """Its arguments; `None` once cancelled."""
    @property
    def _context(self) -> Context: ...
    @property
    def _cancelled(self) -> bool: ...  # type: ignore[override]
    @property
    def _repr(self) -> str | None:
        """In debug mode, the `repr` of the handle before it was cancelled; else `None`."""
    @property
    def _source_traceback(self) -> StackSummary | None:
        """In debug mode, the stack at which the handle was created; else `None`."""

@final
class TimerHandle(asyncio.TimerHandle):
    """A callback that the loop will run at a given time; created by `call_later` and `call_at`.

    `when()` returns that time, in seconds on `Core.time()`.
    """

    def cancel(self) -> None:
        """Keep the callback from running, and release it and its arguments at once."""

    def cancelled(self) -> bool:
        """Return whether `cancel()` was called."""

    def get_context(self) -> Context:
        """Return the context that the callback runs in. Also exists before Python 3.12."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _callback(self) -> Callable[..., object] | None:
        """The callback; `None` once cancelled."""
    @property
    def _args(self) -> tuple[Any, ...] | None:  # type: ignore[override]
        """Its arguments; `None` once cancelled."""
    @property
    def _context(self) -> Context: ...
    @property
    def _cancelled(self) -> bool: ...  # type: ignore[override]
    @property
    def _repr(self) -> str | None:
        """In debug mode, the `repr` of the handle before it was cancelled; else `None`."""
    @property
    def _source_traceback(self) -> StackSummary | None:
        """In debug mode, the stack at which the handle was created; else `None`."""
    @property
    def _when(self) -> float:
        """What `when()` returns."""
    @property
    def _scheduled(self) -> bool:
        """Whether the handle is in the timer queue."""

@final
class SocketTransport(asyncio.Transport):
    """A transport over a connected stream socket; created by the loop, not by calling the class.

    Bytes are sent at the end of the callback or pass that writes them, so that many small writes
    become one system call. After `close()` or an error, `connection_lost` is called once, in a
    later pass, and is the last call of the protocol.
    """

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes, now or soon, without blocking; an empty `data` sends nothing.

        Args:
            data: any bytes-like object; it may be changed after the call.

        Raises:
            TypeError: `data` is not a bytes-like object.
            RuntimeError: after `write_eof()`, or while `loop.sendfile()` uses the transport.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send the bytes of each item, in order; nothing is sent if an item is invalid.

        Raises:
            TypeError: an item is not a bytes-like object.
            RuntimeError: after `write_eof()`, or while `loop.sendfile()` uses the transport.
        """

    def write_eof(self) -> None:
        """Shut down the sending half after the buffered data is sent; receiving continues.

        Raises:
            OSError: shutdown(2) failed.
        """

    def can_write_eof(self) -> bool:
        """Return `True`: sockets can be half-closed."""

    def close(self) -> None:
        """Stop reading, send what is buffered, close, and call `connection_lost(None)`."""

    def abort(self) -> None:
        """Close at once, discarding the write buffer, and call `connection_lost(None)`."""

    def _force_close(self, exc: BaseException | None) -> None:
        """Close like `abort()`, with `connection_lost(exc)`. Called by asyncio's TLS."""

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""

    def is_reading(self) -> bool:
        """Return whether received bytes are delivered: neither paused nor closing."""

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading()`; full kernel buffers then slow the peer down."""

    def resume_reading(self) -> None:
        """Deliver received bytes again; those received meanwhile are delivered in a later pass."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call the methods of `protocol` from now on."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol; `None` after `connection_lost`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return information about the connection.

        Args:
            name: `socket`, `sockname` or `peername`, or a key of the transport's `extra`.
            default: returned for every other name.
        """

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits at which `pause_writing()` and `resume_writing()` are called.

        Args:
            high: `pause_writing()` is called above this many buffered bytes; `None` means four
                times `low`, or 64 KiB if `low` is `None`, too.
            low: `resume_writing()` is called at this many bytes or fewer; `None` means a quarter
                of `high`.

        Raises:
            ValueError: not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return `(low, high)`, in bytes."""

    def get_write_buffer_size(self) -> int:
        """Return the number of buffered bytes: those that the kernel has not accepted yet."""

    def __del__(self) -> None:
        """Close a transport that was left open, with a `ResourceWarning`."""

    @property
    def _loop(self) -> Core: ...
    def _make_empty_waiter(self) -> asyncio.Future[None]:
        """Return a future that is done once everything is sent; writing is refused until its reset.

        Raises:
            RuntimeError: such a future exists already.
        """

    def _note_sent(self) -> None:
        """Note that bytes went to the peer past the transport."""

    def _reset_empty_waiter(self) -> None:
        """Discard the future of `_make_empty_waiter()` and allow writing again."""

    def set_limits(
        self,
        limits: Limits | None = None,
        /,
        **changes: float | None,
    ) -> None:
        """Limit how long the peer may stall, from now on.

        Args:
            limits: `first_byte`, `write_stall` and `idle` count, as for connections that a server
                accepts. `None`: those that the transport has, with `changes`; without changes,
                none.
            changes: the limits to change, by name; `None` is no limit.

        Raises:
            TypeError: `limits` are none, a change has an unknown name or is no number, or it is of
                a limit that no single connection has.
            ValueError: a change is out of range.
        """

    def _settled(self) -> bool:
        """Return whether nothing waits to be sent, and no answer is due.

        That is: what moved last went out, or nothing has moved yet.
        """

    def _has_rested(self) -> bool:
        """Return whether it is settled, and nothing has moved since the last call."""

    @property
    def _sock_fd(self) -> int:
        """The number of the descriptor."""
    @property
    def _sock(self) -> socket.socket | None:
        """The socket; `None` after closing."""
    @property
    def _paused(self) -> bool:
        """Whether reading is paused."""
    @property
    def _protocol_paused(self) -> bool:
        """Whether `pause_writing()` was called, and `resume_writing()` not yet."""
    @property
    def _sendfile_compatible(self) -> Enum:
        """Always `TRY_NATIVE`: `loop.sendfile()` uses sendfile(2)."""
    @property
    def _start_tls_compatible(self) -> bool:
        """True: `loop.start_tls()` accepts the transport."""

@final
class ReadPipeTransport(asyncio.ReadTransport):
    """A transport that reads from a pipe; created by `connect_read_pipe()`.

    At the end, `eof_received()` is called and then `connection_lost(None)`, regardless of its
    result. If a protocol method raises, the error is reported and reading continues.
    """

    def close(self) -> None:
        """Stop reading, close, and call `connection_lost(None)`."""

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""

    def is_reading(self) -> bool:
        """Return whether received bytes are delivered: neither paused nor closing."""

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading()`; a full pipe then blocks the writer."""

    def resume_reading(self) -> None:
        """Deliver received bytes again; those received meanwhile are delivered in a later pass."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call the methods of `protocol` from now on."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol; `None` after `connection_lost`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return the file object for `pipe`, or the value in `extra`; else `default`."""

    def __del__(self) -> None:
        """Close a transport that was left open, with a `ResourceWarning`."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _fileno(self) -> int: ...
    @property
    def _pipe(self) -> _File | None:
        """The file object, which the transport closes; `None` after closing."""
    @_pipe.setter
    def _pipe(self, value: _File | None) -> None: ...

@final
class WritePipeTransport(asyncio.Transport):
    """A transport that writes to a pipe; created by `connect_write_pipe()`.

    It closes when the reading end is closed, with a `BrokenPipeError` if bytes are buffered or
    written. Like asyncio's, it is an `asyncio.Transport`, although it cannot read.
    """

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write bytes, now or when there is room, without blocking.

        Args:
            data: any bytes-like object; it may be changed after the call.

        Raises:
            AssertionError: `data` is not a bytes-like object.
        """

    def write_eof(self) -> None:
        """Write what is buffered, then close: a pipe has no other way to signal EOF."""

    def can_write_eof(self) -> bool:
        """Return `True`."""

    def close(self) -> None:
        """Write what is buffered, close, and call `connection_lost(None)`."""

    def abort(self) -> None:
        """Close at once, discarding the write buffer, and call `connection_lost(None)`."""

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call the methods of `protocol` from now on."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol; `None` after `connection_lost`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return the file object for `pipe`, or the value in `extra`; else `default`."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits for `pause_writing()` and `resume_writing()`, as on a `SocketTransport`.

        Raises:
            ValueError: not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return `(low, high)`, in bytes."""

    def get_write_buffer_size(self) -> int:
        """Return the number of buffered bytes: those that the kernel has not accepted yet."""

    def __del__(self) -> None:
        """Close a transport that was left open, with a `ResourceWarning`."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _fileno(self) -> int: ...
    @property
    def _pipe(self) -> _File | None:
        """The file object, which the transport closes; `None` after closing."""
    @_pipe.setter
    def _pipe(self, value: _File | None) -> None: ...
    @property
    def _protocol_paused(self) -> bool:
        """Whether `pause_writing()` was called, and `resume_writing()` not yet."""

#: The number from `Watcher.add()`, the kind, the duration, when it was so long, the time on
#: processors, the time without one, the time in collections (seconds), whether it has ended, the
#: thread's two numbers, the mark.
FoundStall: TypeAlias = tuple[
    int,
    str,
    float,
    float,
    float | None,
    float | None,
    float,
    bool,
    tuple[int, int],
    tuple[int, int],
]

@final
class Watcher:
    """Notices that loops stall. One thread calls `wait()` again and again."""

    def __new__(cls) -> Watcher:
        """Create it, with no loop."""

    def add(
        self,
        core: Core,
        threshold: float,
        repeat: float,
        may_print: bool,
        dumper: tuple[int, int] | None,
        /,
    ) -> int:
        """Watch a loop; return a number for it.

        Args:
            core: the loop.
            threshold: seconds after which a stall is found.
            repeat: seconds after which it is found again.
            may_print: whether a line on the standard error may tell of it if Python cannot.
            dumper: a signal whose handler writes the stack of the thread that gets it, and the
                descriptor of the file that it appends to.
        """

    def take_dumped(self, number: int, /) -> str | None:
        """Return what the signal handler has written of the loop's thread since the last call."""

    def remove(self, number: int, /) -> None:
        """Watch it no more."""

    def is_still(self, number: int, mark: tuple[int, int], /) -> bool:
        """Return whether the loop is still at what a stall was found at."""

    def wait(self, switch_interval: float, /) -> list[FoundStall] | None:
        """Wait until loops stall, and return the stalls; `None` after `stop()`.

        Args:
            switch_interval: `sys.getswitchinterval()`; 0 without a GIL.
        """

    def stop(self) -> None:
        """End `wait()`, now and for ever."""

@final
class Resolver:
    """Threads on which the C library looks names up, without the GIL."""

    def __new__(cls) -> Resolver:
        """Create it without a thread; `look_up()` starts them."""

    def look_up(
        self,
        host: object,
        port: object,
        family: object,
        kind: object,
        proto: object,
        flags: object,
        /,
    ) -> Awaitable[list[Any] | None] | None:
        """Look a name up for the running loop, as `socket.getaddrinfo` does.

        `None`, here or as the result, where only that function can: for addresses, for names
        beyond ASCII, for services and most flags, and if no thread can be started.

        Raises:
            OSError: the look-up failed; most often `socket.gaierror`, when the result is awaited.
        """

    def close(self) -> None:
        """Tell the threads to end after their current calls, without waiting for them."""

@final
class ServerGate:
    """The limits on the connections of one server."""

    def set(
        self, most: int | None, rate: float | None, times: tuple[int, int, int, int] | None
    ) -> None:
        """As `_limit_connections`; without `times`, those of the loop apply."""

    @property
    def open(self) -> int:
        """How many connections are open."""

@final
class Admitted:
    """An accepted connection for which Python makes a transport; it counts while this is alive."""

@final
class Connection:
    """A TCP or Unix socket that a loop opens: connected or connecting, and without a Python object.

    Without an owner, it closes itself.
    """

    @property
    def is_pending(self) -> bool:
        """Whether the connection was still being made when `_begin_connection` returned."""

    def error(self) -> int:
        """Return the `errno` of a connection that failed; 0 for one that is made.

        Ask a pending one once it is writable.

        Raises:
            OSError: it is closed.
        """

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed or has another owner."""

    def socket(self) -> socket.socket:
        """Convert it to a socket, which owns the descriptor from now on.

        Raises:
            OSError: it is closed.
        """

    def close(self) -> None:
        """Close it; further calls do nothing."""

@final
class Recording:
    """What a loop records for a trace; made by `Core._start_trace()`. It may outlive the loop.

    Its methods may be called from any thread.
    """

    def counts(self) -> tuple[int, int]:
        """Return how many events are held, and how many were dropped; (0, 0) once it has ended."""

    def is_over(self) -> bool:
        """Return whether the loop is gone."""

    def end(self) -> int:
        """End the recording, also what still lasts. Return how many events were dropped.

        Raises:
            MemoryError: there is no memory to sort the events.
        """

    def take(self, count: int, /) -> list[TraceEvent]:
        """Return up to `count` events of an ended recording, and forget them.

        They come in the order in which they began; a slice comes before those inside it.
        """

@final
class SockCall(Coroutine[Any, Any, Any]):
    """The coroutine that `sock_recv` and the other native `sock_*` methods return."""

    def __await__(self) -> Generator[Any, None, Any]:
        """Return an iterator that runs the call."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> asyncio.Future[None]: ...
    def send(self, value: object, /) -> asyncio.Future[None]:
        """Run the call until it has to wait; `value` is ignored.

        Raises:
            StopIteration: the call is done; the exception carries its result.
            RuntimeError: the call was already awaited.
        """

    def throw(
        self, type: object, value: object = None, traceback: TracebackType | None = None, /
    ) -> NoReturn:
        """Raise an exception at the point where the call waits."""

    def close(self) -> None:
        """End the call without a result."""

    @property
    def cr_await(self) -> asyncio.Future[None] | None:
        """The future that the call waits for; `None` while it does not wait."""
    @property
    def cr_frame(self) -> None: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    @property
    def cr_state(self) -> str:
        """`CORO_CREATED`, `CORO_RUNNING`, `CORO_SUSPENDED` or `CORO_CLOSED`."""

@final
class StreamCall(Coroutine[Any, Any, Any]):
    """The coroutine that the native `read` and its kin, and `drain`, of a used stream return."""

    def __await__(self) -> Generator[Any, None, Any]:
        """Return an iterator that runs the call."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> asyncio.Future[None]: ...
    def send(self, value: object, /) -> asyncio.Future[None]:
        """Run the call until it has to wait; `value` is ignored.

        Raises:
            StopIteration: the call is done; the exception carries its result.
            RuntimeError: the call was already awaited.
        """

    def throw(
        self, type: object, value: object = None, traceback: TracebackType | None = None, /
    ) -> asyncio.Future[None]:
        """Raise an exception at the point where the call waits.

        Returns a future if asyncio's own method goes on waiting.
        """

    def close(self) -> None:
        """End the call without a result."""

    @property
    def cr_await(self) -> asyncio.Future[None] | Coroutine[Any, Any, Any] | None:
        """What the call waits for: a future, or a coroutine of asyncio's; `None` for nothing."""
    @property
    def cr_frame(self) -> None: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    @property
    def cr_state(self) -> str:
        """`CORO_CREATED`, `CORO_RUNNING`, `CORO_SUSPENDED` or `CORO_CLOSED`."""

@final
class DatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    """A transport over a datagram socket; created by the loop, not by calling the class.

    Several datagrams are received in one system call, and delivered as if each had arrived in a
    separate turn. Small datagrams that are sent in the protocol's callbacks, or after another one
    in the same pass, are sent together at the end of the callback or pass. Like asyncio's, it is
    also a `Transport`, but `write()` and similar methods raise `NotImplementedError`.
    """

    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:  # noqa: ANN401 - as asyncio's.
        """Send a datagram, now or soon, without blocking (except to look up a host name).

        A network error is passed to `error_received`; the endpoint stays open.

        Args:
            data: any bytes-like object; it may be changed after the call. If it is empty, nothing
                is sent before Python 3.13.
            addr: the destination; `None` on an endpoint with a `remote_addr`.

        Raises:
            TypeError: `data` is not a bytes-like object.
            ValueError: `addr` is not the endpoint's `remote_addr`.
        """

    def _sendto_ready(self) -> None: ...

    # As those of `SocketTransport`.
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    def is_reading(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def get_protocol(self) -> asyncio.BaseProtocol: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...  # noqa: ANN401 - as asyncio's.
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_limits(self) -> tuple[int, int]: ...
    def get_write_buffer_size(self) -> int:
        """Return the number of buffered bytes: those that the kernel has not accepted yet.

        As in asyncio, each datagram counts for 8 more bytes from Python 3.13 on.
        """

    def __del__(self) -> None: ...
    @property
    def _loop(self) -> Core | None: ...
    @property
    def _sock(self) -> socket.socket | None: ...
    @property
    def _address(self) -> Any: ...  # noqa: ANN401 - as asyncio's.
    @property
    def _conn_lost(self) -> int:
        """0 while open; set to 1 by closing or an error, and incremented by each later `sendto`."""
    @property
    def _protocol_paused(self) -> bool: ...

@final
class SSLTransport(asyncio.Transport):
    """The transport of a TLS connection; created by the loop, not by calling the class.

    It is the protocol of a `SocketTransport` and the transport of the application's protocol. It
    behaves like asyncio's, with the same order of calls and the same exceptions.
    """

    def write_eof(self) -> None:
        """Raise `NotImplementedError`: TLS cannot be half-closed."""

    def close(self) -> None:
        """Send what is buffered, then close_notify; wait for the peer's until the timeout."""

    def _force_close(self, exc: BaseException | None) -> None:
        """Close like `abort()`, with `connection_lost(exc)`. Called by asyncio's TLS."""

    @property
    def _is_direct(self) -> bool:
        """Whether the loop calls OpenSSL directly, without `_ssl`; see `YAMANOTE_NO_OPENSSL`."""

    def _feed(self, ciphertext: ReadableBuffer) -> None:
        """Pass on data that was received before the handshake began."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return information about the connection.

        Args:
            name: `sslcontext`; after the handshake also `ssl_object`, `peercert`, `cipher` and
                `compression`; or a name that the underlying stream transport knows.
            default: returned for every other name.
        """

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Stop receiving at `high` bytes of undelivered data, and resume at `low`.

        Raises:
            ValueError: not `high >= low >= 0`.
        """

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """Return `(low, high)`, in bytes."""

    def get_read_buffer_size(self) -> int:
        """Return the number of bytes that were received and are not decrypted yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake. The underlying stream calls this and the next four methods."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Call the application's `connection_lost`, in a later pass."""

    def eof_received(self) -> bool:
        """End the connection; true keeps the stream open until the application has read."""

    def pause_writing(self) -> None:
        """Stop writing ciphertext to the stream."""

    def resume_writing(self) -> None:
        """Write ciphertext to the stream again."""

    def _check_handshake_timeout(self) -> None:
        """Timer callback: abort the connection if the handshake is unfinished."""

    def _check_shutdown_timeout(self) -> None:
        """Timer callback: abort the connection if the peer's close_notify is still missing."""

    def set_limits(
        self,
        limits: Limits | None = None,
        /,
        **changes: float | None,
    ) -> None:
        """Limit how long the peer may stall, from now on.

        Args:
            limits: `first_byte`, `write_stall` and `idle` count, as for connections that a server
                accepts. `None`: those that the transport has, with `changes`; without changes,
                none.
            changes: the limits to change, by name; `None` is no limit.

        Raises:
            TypeError: `limits` are none, a change has an unknown name or is no number, or it is of
                a limit that no single connection has.
            ValueError: a change is out of range.
        """

    def _settled(self) -> bool:
        """Return whether nothing waits to be sent, and no answer is due.

        That is: what moved last went out, or nothing has moved yet.
        """

    @property
    def _loop(self) -> Core: ...
    @property
    def _protocol_paused(self) -> bool:
        """Whether `pause_writing()` was called, and `resume_writing()` not yet."""
    @property
    def _sendfile_compatible(self) -> Enum:
        """Always `FALLBACK`: `loop.sendfile()` reads and writes the file."""
    @property
    def _start_tls_compatible(self) -> bool:
        """True: `loop.start_tls()` accepts the transport, for TLS in TLS."""
    @property
    def _ssl_protocol(self) -> Self:
        """Itself: asyncio's transport has its `SSLProtocol` here, which programs look up."""
    @property
    def _sslcontext(self) -> ssl.SSLContext:
        """The context, which programs look up as `_ssl_protocol._sslcontext`."""
    @property
    def _app_reading_paused(self) -> bool:
        """Whether reading is paused."""
