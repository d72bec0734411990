"""The native half of yamanote: the loop's core, handles and transports.

A program meets these classes as what `yamanote.Loop` inherits and returns. Except where a line here
says more, they do what asyncio's documentation says of the name; times are seconds (`float`) on
`Core.time()`, sizes are bytes.

A method of a loop that does not name another thread belongs to the thread that runs the loop;
elsewhere it raises `RuntimeError` as soon as it would touch what that thread is at work on.
"""

# ruff: noqa: PYI021 - this stub is where the native module is documented for its readers.

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from contextvars import Context
from enum import Enum
from traceback import StackSummary
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Protocol, Self, TypeAlias, TypeVar, final

from _typeshed import ReadableBuffer, WriteableBuffer
from typing_extensions import TypeVarTuple, Unpack, disjoint_base

__all__ = [
    "Core",
    "DatagramTransport",
    "Handle",
    "ReadPipeTransport",
    "SSLTransport",
    "SockCall",
    "SocketTransport",
    "TimerHandle",
    "WritePipeTransport",
    "__version__",
    "_live_futures",
]

__version__: str
"""The version of the package, as in its metadata."""

def _live_futures() -> int:
    """Return how many Rust futures of extensions there are that have not been dropped."""

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

class _File(Protocol):
    """What a pipe transport needs of a file object."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...

# What a task runs.
_Coroutine: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]

@disjoint_base
class Core:
    """The native part of an event loop: scheduling, timers, descriptors, accepting.

    `yamanote.Loop` adds what happens once per loop, server or connection; a `Core` on its own is
    no complete event loop. Objects of subclasses have a `__dict__`.
    """

    __yamanote_c_api__: ClassVar[object]
    """The capsule that extensions reach the loop through; see `include/yamanote.h`."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make a core that neither runs nor is closed; arguments are left to `__init__`.

        A subclass that overrides `time` is asked for the time from then on; others have the clock
        of the core.

        Raises:
            OSError: the process has no descriptor left for the loop.
        """

    def time(self) -> float:
        """Return the seconds on the clock of `time.monotonic()`."""

    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call `callback(*args)` in the next pass of the loop, in the order of the calls.

        Args:
            callback: in debug mode coroutines and coroutine functions are refused.
            args: its positional arguments.
            context: what it runs in; `None` stands for a copy of the current context.

        Raises:
            RuntimeError: the loop is closed; in debug mode also: another thread runs it.
            TypeError: in debug mode: `callback` cannot be called.
        """

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call `callback(*args)` in the next pass of the loop, which this wakes. From any thread.

        Arguments and exceptions are those of `call_soon`, which thread this is apart.
        """

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` once `delay` seconds have passed, and never before.

        Args:
            delay: seconds; zero and negative numbers make it due in a coming pass, infinity never.
            callback: as for `call_soon`.
            args: as for `call_soon`.
            context: as for `call_soon`.

        Raises:
            RuntimeError: the loop is closed, or another thread runs it.
            TypeError: `delay` is no number; in debug mode: `callback` cannot be called.
        """

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` once `time()` has reached `when`, and never before.

        Args:
            when: seconds on `time()`; what has passed is due in a coming pass, infinity never.
            callback: as for `call_soon`.
            args: as for `call_soon`.
            context: as for `call_soon`.

        Raises:
            RuntimeError: the loop is closed, or another thread runs it.
            TypeError: `when` is no number; in debug mode: `callback` cannot be called.
        """

    def create_future(self) -> asyncio.Future[Any]:
        """Return an `asyncio.Future` of this loop."""

    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _Coroutine[_T],
            *,
            name: object = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> asyncio.Task[_T]:
            """Run a coroutine as an `asyncio.Task`, or as what the task factory makes.

            Args:
                coro: what to run.
                name: `None` numbers the task.
                context: what it runs in; `None` stands for a copy of the current context.
                eager_start: start it at once; `None` leaves it to the interpreter's `Task`.

            Raises:
                RuntimeError: the loop is closed.
                TypeError: `coro` is no coroutine, or this interpreter's `Task` has no such keyword.
            """
    else:
        def create_task(
            self, coro: _Coroutine[_T], *, name: object = None, context: Context | None = None
        ) -> asyncio.Task[_T]:
            """Run a coroutine as an `asyncio.Task`, or as what the task factory makes.

            Args:
                coro: what to run.
                name: `None` numbers the task.
                context: what it runs in; `None` stands for a copy of the current context.

            Raises:
                RuntimeError: the loop is closed.
                TypeError: `coro` is no coroutine.
            """

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive from a non-blocking socket; `b""` is the end of the stream.

        Like every call of its kind, this one begins when it is awaited, is tried before it waits,
        and has lost no data when it is cancelled. A socket with several calls that wait completes
        all of them, in no promised order; `add_reader` puts them off for good, as in asyncio.

        Args:
            sock: the socket; with the methods of a `socket.socket`.
            n: how many bytes to receive at most.

        Raises:
            TypeError: the socket is an `ssl.SSLSocket`.
            ValueError: in debug mode, the socket blocks.
            RuntimeError: it would have to wait, and a transport owns the descriptor, or the loop is
                closed.
            OSError: what the kernel says.
        """

    async def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> int:
        """Receive into a buffer: how many bytes, 0 at the end of stream; else as `sock_recv`."""

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram and the address that it came from. Else as `sock_recv`."""

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a buffer; how many bytes, and from where. Else as `sock_recv`.

        Args:
            sock: the socket.
            buf: a writable buffer.
            nbytes: how many bytes to receive at most; 0 stands for as many as there is room for.
        """

    async def sock_sendall(self, sock: socket.socket, data: ReadableBuffer) -> None:
        """Send all of `data`, which must not change meanwhile. Else as `sock_recv`."""

    async def sock_sendto(
        self,
        sock: socket.socket,
        data: ReadableBuffer,
        address: tuple[Any, ...] | str | ReadableBuffer,
    ) -> int:
        """Send a datagram to an address; how many bytes were sent. Else as `sock_recv`."""

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: its non-blocking socket, and the address of its peer.

        Else as `sock_recv`.
        """

    def stop(self) -> None:
        """End the run after the pass that is running; before a run, after its first pass."""

    def is_running(self) -> bool:
        """Return whether a thread is inside `run_forever()`. From any thread."""

    def is_closed(self) -> bool:
        """Return whether `close()` was called. From any thread."""

    def get_debug(self) -> bool:
        """Return whether debug mode is on. From any thread."""

    # What the Python parts of `Loop`, and those of asyncio that it inherits, call.

    @property
    def _debug(self) -> bool:
        """Whether debug mode is on."""
    @_debug.setter
    def _debug(self, enabled: bool) -> None: ...
    @property
    def _thread_id(self) -> int | None:
        """`threading.get_ident()` of the thread that runs the loop; `None` when none does.

        Setting it changes nothing: asyncio's base class does, and the core knows better.
        """
    @_thread_id.setter
    def _thread_id(self, _value: int | None) -> None: ...
    def _run(self) -> None:
        """Run until stopped; an exception that is no `Exception` ends it too.

        Raises:
            RuntimeError: the loop is closed or running.
        """

    def _run_nested(self, until: object) -> None:
        """Run until stopped or until the future `until` is done, if it is not `None`.

        A callback of this loop may call it, too. A `stop()` that ends such a run with a future is
        left to the run around it.

        Raises:
            RuntimeError: the loop is closed, or runs on another thread.
        """

    def _hear_signals(self, fd: int) -> int:
        """Have signals end the loop's waits through `fd`, -1 for none; what was set before.

        While the loop waits, and no longer, `fd` takes the place of `signal.set_wakeup_fd()`'s. For
        the main thread.
        """

    def _displaced_wakeup_fd(self) -> int | None:
        """Return `signal.set_wakeup_fd()`'s of the last wait; `None` before the first."""

    def _close(self) -> None:
        """Drop everything scheduled and end the reactor; a second call does nothing.

        Raises:
            RuntimeError: the loop is running.
        """

    def _check_closed(self) -> None:
        """Raise `RuntimeError` when the loop is closed."""

    def _check_thread(self) -> None:
        """Raise `RuntimeError` when another thread runs the loop."""

    def _remove_socket_file(self, path: str, inode: int) -> None:
        """Remove the file of a Unix server, unless another server has taken its path over.

        Raises:
            OSError: there is no such file, or it may not be looked at or removed.
        """

    def _use_own_clock(self) -> None:
        """Ask Python's `time()` for the time from now on."""

    def _make_handle(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Return a handle that is not queued yet, for `_add_callback` and its kin."""

    def _send_written(self) -> None:
        """Send what the callback that runs on this thread has written so far."""

    def _forked(self) -> None:
        """Called in a forked child that has one thread: let the parent alone from now on."""

    def _add_callback(self, handle: Handle) -> None:
        """Queue a handle for the next pass, which this wakes. From any thread.

        Raises:
            TypeError: `handle` was not made by a loop of this package.
        """

    def _watch_reader(self, fd: int, handle: Handle) -> None:
        """Run `handle` in each pass that finds `fd` readable; replaces the one there was.

        Raises:
            RuntimeError: the loop is closed.
            OSError: the kernel cannot watch `fd`.
        """

    def _watch_writer(self, fd: int, handle: Handle) -> None:
        """Run `handle` in each pass that finds `fd` writable; replaces the one there was.

        Raises:
            RuntimeError: the loop is closed.
            OSError: the kernel cannot watch `fd`.
        """

    def _remove_reader(self, fd: int) -> bool:
        """Stop watching `fd` for reading; return whether it was watched."""

    def _remove_writer(self, fd: int) -> bool:
        """Stop watching `fd` for writing; return whether it was watched."""

    def _ensure_fd_no_transport(self, fd: int) -> None:
        """Raise `RuntimeError` when a transport that is not closed owns `fd`."""

    def _release_fd(self, fd: int) -> None:
        """Let others wait for a transport's `fd`, while it sends a file."""

    def _claim_fd(self, fd: int) -> None:
        """Keep others from waiting for `fd`, which is a transport's."""

    async def _sock_writable(self, sock: socket.socket) -> None:
        """Wait until a socket takes bytes, or is connected.

        Raises:
            RuntimeError: the loop is closed, or a transport owns the descriptor.
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
            waiter: completed once `connection_made` was called.
            extra: a `dict` that `get_extra_info` answers from, too.
            server: told of the transport's birth and of its end.
            context: what every method of the protocol runs in. `None` stands for a copy of the
                current context, and for that of who ends the connection in `connection_lost`.

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
            waiter: completed once `connection_made` was called.
            extra: what `get_extra_info` answers from, too; `pipe` is added to it.

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
            address: where every datagram goes; `None` when each names its own address.
            waiter: completed once `connection_made` was called.
            extra: a `dict` that `get_extra_info` answers from, too.

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
        """Return a TLS transport, to be given to a stream transport as its protocol.

        Args:
            protocol: the application's.
            session: the context, what makes a session of it, and the buffers, of what comes and of
                what is sent, that this was given; last what wraps the native half of a session
                for the application.
            timeouts: seconds for the handshake and for the shutdown.
            extra: a `dict` that `get_extra_info` answers from, too.
            waiter: told how the handshake ended.
            make_connection: whether `protocol` is, by `connection_made`.

        Returns:
            `None` if the session is something else than a plain `ssl.SSLObject`.
        """

    def _listen(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: object,
        backlog: int,
        context: Context | None,
    ) -> None:
        """Accept connections on a listening, non-blocking socket until `_stop_listening`.

        Args:
            sock: the socket; stays the caller's.
            protocol_factory: called for each connection.
            server: told of each transport; `None` when nobody counts them.
            backlog: how many connections one pass accepts at most; at least one.
            context: each connection has a copy of it, for all methods of its protocol. `None`
                stands for the current context, as in `_make_socket_transport`.

        Raises:
            RuntimeError: the loop is closed.
        """

    def _listen_and_call(
        self,
        sock: socket.socket,
        accepted: Callable[[socket.socket, tuple[Any, ...] | None, Context | None], object],
        backlog: int,
        context: Context | None,
    ) -> None:
        """Accept connections as `_listen` does, and call `accepted(socket, address, context)`.

        The address is `None` where it is no internet address; the context, a copy for this
        connection, where none was given.
        """

    def _resume_listening(self, fd: int) -> None:
        """Accept again after a failure, in a coming pass."""

    def _stop_listening(self, fd: int) -> bool:
        """Stop accepting on `fd`; return whether it was listened on."""

@final
class Handle(asyncio.Handle):
    """A callback that the loop will run; made by `call_soon`, not by calling the class."""

    def cancel(self) -> None:
        """Keep the callback from running, and let go of it and its arguments at once."""

    def cancelled(self) -> bool:
        """Return whether `cancel()` was called."""

    def get_context(self) -> Context:
        """Return the context that the callback runs in. Here before Python 3.12, too."""

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
        """In debug mode, what a cancelled handle looked like."""
    @property
    def _source_traceback(self) -> StackSummary | None:
        """In debug mode, where the handle was made."""

@final
class TimerHandle(asyncio.TimerHandle):
    """A callback that the loop will run at a time; made by `call_later` and `call_at`.

    `when()` tells the time, in seconds on `Core.time()`.
    """

    def cancel(self) -> None:
        """Keep the callback from running, and let go of it and its arguments at once."""

    def cancelled(self) -> bool:
        """Return whether `cancel()` was called."""

    def get_context(self) -> Context:
        """Return the context that the callback runs in. Here before Python 3.12, too."""

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
        """In debug mode, what a cancelled handle looked like."""
    @property
    def _source_traceback(self) -> StackSummary | None:
        """In debug mode, where the handle was made."""
    @property
    def _when(self) -> float:
        """What `when()` returns."""
    @property
    def _scheduled(self) -> bool:
        """Whether it waits for its time."""

@final
class SocketTransport(asyncio.Transport):
    """A transport over a connected stream socket; made by the loop, not by calling the class.

    Bytes are sent at the end of the callback or pass that writes them, so that many small writes
    become one system call. After `close()` or an error, `connection_lost` is called once, last, in
    a later pass.
    """

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes, now or soon, without blocking; an empty `data` sends nothing.

        Args:
            data: may be changed once this has returned.

        Raises:
            TypeError: `data` is no bytes-like object.
            RuntimeError: after `write_eof()`, or while `loop.sendfile()` uses the transport.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send the bytes of each item, in order; nothing is sent if one of them is refused.

        Raises:
            TypeError: an item is no bytes-like object.
            RuntimeError: after `write_eof()`, or while `loop.sendfile()` uses the transport.
        """

    def write_eof(self) -> None:
        """Close the sending half once everything is sent; receiving goes on.

        Raises:
            OSError: the kernel refuses.
        """

    def can_write_eof(self) -> bool:
        """Return `True`: sockets can be half-closed."""

    def close(self) -> None:
        """Read no more, send what is buffered, then close; then `connection_lost(None)`."""

    def abort(self) -> None:
        """Close at once and drop what the kernel has not taken; then `connection_lost(None)`."""

    def _force_close(self, exc: BaseException | None) -> None:
        """Close as `abort()`; `exc` is what `connection_lost` is given. asyncio's TLS calls it."""

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""

    def is_reading(self) -> bool:
        """Return whether received bytes are delivered: neither paused nor closing."""

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading()`; the peer is held back when buffers are full."""

    def resume_reading(self) -> None:
        """Deliver received bytes again; what has come in the meantime comes in a coming pass."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call the methods of `protocol` from now on."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that is called; after `connection_lost`, `None`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return a fact about the connection.

        Args:
            name: `socket`, `sockname` or `peername`, or what the maker of the transport added.
            default: the answer to every other name.
        """

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the protocol is told to pause and to resume writing.

        Args:
            high: `pause_writing()` is called above so many buffered bytes; `None` stands for four
                times `low`, or for 64 KiB when that is not given either.
            low: `resume_writing()` is called at so many bytes or fewer; `None` stands for a quarter
                of `high`.

        Raises:
            ValueError: not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return `(low, high)`, in bytes."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the kernel has not taken yet."""

    def __del__(self) -> None:
        """Close what was left open, with a `ResourceWarning`."""

    @property
    def _loop(self) -> Core: ...
    def _make_empty_waiter(self) -> asyncio.Future[None]:
        """Return a future that is done once everything is sent; until it is reset, nobody writes.

        Raises:
            RuntimeError: there is one already.
        """

    def _reset_empty_waiter(self) -> None:
        """Allow writing again."""

    @property
    def _sock_fd(self) -> int:
        """The number of the descriptor."""
    @property
    def _sock(self) -> socket.socket | None:
        """The socket; `None` once closed."""
    @property
    def _paused(self) -> bool:
        """Whether `pause_reading()` is in force."""
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""
    @property
    def _sendfile_compatible(self) -> Enum:
        """What `loop.sendfile()` asks: always `TRY_NATIVE`, by `sendfile(2)`."""
    @property
    def _start_tls_compatible(self) -> bool:
        """True: `loop.start_tls()` takes it."""

@final
class ReadPipeTransport(asyncio.ReadTransport):
    """A transport that reads from a pipe; made by `connect_read_pipe()`.

    At the end, `eof_received()` is called and then `connection_lost(None)`, whatever it answers. A
    protocol method that raises is reported, and reading goes on.
    """

    def close(self) -> None:
        """Read no more, and close; then `connection_lost(None)`."""

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""

    def is_reading(self) -> bool:
        """Return whether received bytes are delivered: neither paused nor closing."""

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading()`; a full pipe holds the writer back."""

    def resume_reading(self) -> None:
        """Deliver received bytes again; what has come in the meantime comes in a coming pass."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call the methods of `protocol` from now on."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that is called; after `connection_lost`, `None`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return the file object as `pipe`, or what the maker added; else `default`."""

    def __del__(self) -> None:
        """Close what was left open, with a `ResourceWarning`."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _fileno(self) -> int: ...
    @property
    def _pipe(self) -> _File | None:
        """The file object, which the transport closes; `None` once closed."""
    @_pipe.setter
    def _pipe(self, value: _File | None) -> None: ...

@final
class WritePipeTransport(asyncio.Transport):
    """A transport that writes to a pipe; made by `connect_write_pipe()`.

    It ends when the reading end is closed: with a `BrokenPipeError` if bytes wait or are written.
    Like asyncio's it counts as an `asyncio.Transport`, although it reads nothing.
    """

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write bytes, now or when there is room, without blocking.

        Args:
            data: may be changed once this has returned.

        Raises:
            AssertionError: `data` is no bytes-like object.
        """

    def write_eof(self) -> None:
        """Write what waits, then close: a pipe has no other way to say that no more will come."""

    def can_write_eof(self) -> bool:
        """Return `True`."""

    def close(self) -> None:
        """Write what waits, then close; then `connection_lost(None)`."""

    def abort(self) -> None:
        """Close at once and drop what the kernel has not taken; then `connection_lost(None)`."""

    def is_closing(self) -> bool:
        """Return whether the transport is closed or about to be."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call the methods of `protocol` from now on."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that is called; after `connection_lost`, `None`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return the file object as `pipe`, or what the maker added; else `default`."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the protocol is told to pause and to resume writing, as on a `SocketTransport`.

        Raises:
            ValueError: not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return `(low, high)`, in bytes."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the kernel has not taken yet."""

    def __del__(self) -> None:
        """Close what was left open, with a `ResourceWarning`."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _fileno(self) -> int: ...
    @property
    def _pipe(self) -> _File | None:
        """The file object, which the transport closes; `None` once closed."""
    @_pipe.setter
    def _pipe(self, value: _File | None) -> None: ...
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""

@final
class SockCall(Coroutine[Any, Any, Any]):
    """A call on a socket: the coroutine that `sock_recv` and its kin return."""

    def __await__(self) -> Generator[Any, None, Any]:
        """Return an iterator that drives it."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> asyncio.Future[None]: ...
    def send(self, value: object, /) -> asyncio.Future[None]:
        """Run until it must wait; `value` is ignored.

        Raises:
            StopIteration: it is done, with the value of the `await`.
            RuntimeError: it was awaited before.
        """

    def throw(
        self, type: object, value: object = None, traceback: TracebackType | None = None, /
    ) -> NoReturn:
        """Raise an exception where it waits."""

    def close(self) -> None:
        """End it where it waits."""

    @property
    def cr_await(self) -> asyncio.Future[None] | None:
        """What it waits for."""
    @property
    def cr_running(self) -> bool: ...

@final
class DatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    """A transport over a datagram socket; made by the loop, not by calling the class.

    Several datagrams are received in one system call, and delivered as if each had come in a turn
    of its own. Small ones that are sent in the protocol's callbacks, or after another in the same
    pass, go out together when those are over. Like asyncio's, it is a `Transport` by class, but
    what is sent has boundaries: `write()` and its like raise `NotImplementedError`.
    """

    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:  # noqa: ANN401 - as asyncio's.
        """Send a datagram, now or soon, without blocking (but for looking up a host's name).

        An error of the network goes to `error_received`; the endpoint lives.

        Args:
            data: may be changed once this has returned. When empty, Python before 3.13 sends
                nothing.
            addr: where to; `None` on an endpoint with a `remote_addr`.

        Raises:
            TypeError: `data` is no bytes-like object.
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
        """Return how many bytes the kernel has not taken yet.

        As in asyncio, each datagram counts for 8 bytes more since Python 3.13.
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
        """0 while open; above, counts what was sent too late."""
    @property
    def _protocol_paused(self) -> bool: ...

@final
class SSLTransport(asyncio.Transport):
    """The transport of a TLS connection; made by the loop, not by calling the class.

    It stands between the application's protocol and a `SocketTransport`, whose protocol it is. It
    does what asyncio's own does, in the same order and with the same exceptions.
    """

    def write_eof(self) -> None:
        """Raise `NotImplementedError`: TLS cannot be half-closed."""

    def close(self) -> None:
        """Send what is buffered, say goodbye and wait for the peer's, but not for ever."""

    def _force_close(self, exc: BaseException | None) -> None:
        """Close as `abort()`; `exc` is what `connection_lost` is given. asyncio's TLS calls it."""

    @property
    def _is_direct(self) -> bool:
        """Whether records are read and written past `_ssl`: see `YAMANOTE_NO_OPENSSL`."""

    def _feed(self, ciphertext: ReadableBuffer) -> None:
        """Take what came before the handshake began."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's.
        """Return what is known of the connection.

        Args:
            name: `sslcontext`; after the handshake also `ssl_object`, `peercert`, `cipher` and
                `compression`; or what the stream below knows.
            default: returned where nothing is known.
        """

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Hold the peer back at `high` bytes that nobody reads, until there are `low`.

        Raises:
            ValueError: not `high >= low >= 0`.
        """

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """Return `(low, high)`."""

    def get_read_buffer_size(self) -> int:
        """Return how many bytes came and were not decrypted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake. This and the next four are called by the stream below."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the application, in a later pass."""

    def eof_received(self) -> bool:
        """End the connection; true keeps the stream open until the application has read."""

    def pause_writing(self) -> None:
        """Keep ciphertext from the stream."""

    def resume_writing(self) -> None:
        """Give the stream ciphertext again."""

    def _check_handshake_timeout(self) -> None:
        """End a connection whose handshake is not done. The timer's."""

    def _check_shutdown_timeout(self) -> None:
        """End a connection whose peer does not say goodbye. The timer's."""

    @property
    def _loop(self) -> Core: ...
    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause writing."""
    @property
    def _sendfile_compatible(self) -> Enum:
        """What `loop.sendfile()` asks: always `FALLBACK`, by reading and writing."""
    @property
    def _start_tls_compatible(self) -> bool:
        """True: `loop.start_tls()` takes it, for TLS in TLS."""
    @property
    def _ssl_protocol(self) -> Self:
        """Itself: under this name, programs look for what the stream below calls."""
    @property
    def _sslcontext(self) -> ssl.SSLContext:
        """What they look for there, most of all; others ask for the extra info of that name."""
    @property
    def _app_reading_paused(self) -> bool:
        """Whether `pause_reading()` is in force."""
