"""Plays hostile sequences, one per connection, and records what the protocols see.

A `Script` defines what the peer does, what is done to the transport between two turns of the loop,
and what each protocol method does. An `Afternoon` plays scripts on a loop, over real TCP
connections, and records every protocol call. The same script must give the same record on every
loop.

Therefore each step runs until nothing more happens, and sizes avoid what depends on the kernel: a
write either fits into its buffers for certain or exceeds every mark for certain, and what the peer
sends fits into one read.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import select
import socket
import struct
import termios
import time
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from tests.tcp.script import Op, Script

#: Kernel buffers between the transport and the peer. With these sizes, 48 to 80 KiB are in flight
#: when a send would block (measured on Linux 6.18); by default the receiver's buffer would grow.
SEND_BUFFER = 16 * 1024
RECEIVE_BUFFER = 32 * 1024
#: Together they stay below the default high-water mark (64 KiB), even above a full low-water mark.
SMALL = (0, 1, 17, 500, 2000)
#: Above the high-water mark even if the kernel's buffers are empty: 160 - 80 > 64.
BIG = (160 * 1024, 180 * 1024, 200 * 1024)
#: The maximum number of big writes in flight: fewer bytes than the higher of the two marks used.
BIG_AT_ONCE = 4
HIGHER_MARK = 1024 * 1024
#: What the peer sends. All unread data fits into one read on any loop.
SENDS = (1, 10, 1000, 5000)
UNREAD_LIMIT = 40 * 1024

#: Rounds without an event after which a step is finished.
QUIET_TURNS = 2
#: Seconds after which a missing event is an error. Generous, because the machine may be busy.
PATIENCE_S = 10.0


class Afternoon:
    """Plays scripts on one loop.

    Args:
        loop: not running; its exception handler is replaced.

    Attributes:
        born: weak references to all protocols and transports.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Opens the listeners through which connections are made."""
        self.loop = loop
        self.born: list[weakref.ref[object]] = []
        self._play: _Play | None = None
        loop.set_exception_handler(self._reported)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._server = loop.run_until_complete(
            loop.create_server(self._make_protocol, "127.0.0.1", 0)
        )

    def close(self) -> None:
        """Closes the listeners."""
        self._play = None
        self._listener.close()
        self._server.close()
        self.loop.run_until_complete(self._server.wait_closed())

    def play(self, script: Script) -> list[str]:
        """Plays `script` on this loop and returns its record."""
        with _Play(self.loop, script) as self._play:
            if script.accepted:
                self._play.accept(self._server.sockets[0].getsockname())
            else:
                self._play.connect(self._listener)
            self._play.run()
            record = self._play.record
            self.born += self._play.born
        self._play = None
        return record

    def _make_protocol(self) -> _Player | _BufferedPlayer:
        assert self._play is not None
        return self._play.make_protocol(buffered=self._play.script.buffered)

    def _reported(self, _loop: object, context: dict[str, Any]) -> None:
        if self._play is None:
            return  # Ended early: the test has already failed.
        message: str = context["message"]
        error = type(context.get("exception")).__name__
        # The rest of this message is the repr of an internal callback of the loop.
        if message.startswith("Exception in callback"):
            message = "Exception in callback"
        self._play.note(f"reported {message} {error}")


class _Play:
    """One connection, and everything that is done to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, script: Script) -> None:
        self.loop = loop
        self.script = script
        self.record: list[str] = []
        self.born: list[weakref.ref[object]] = []
        self.reactions = iter(script.reactions)
        self.answers = iter(script.answers)
        self.transport: asyncio.Transport | None = None
        self.within: list[str] = []
        self.lost = False
        self.late = False
        self.callbacks: list[asyncio.Handle] = []
        self.big_writes = 0
        self.wrote_big = False
        self.arrived = 0
        self.cut_short = False
        self.unread = 0
        self.protocols = 0
        self.peer: socket.socket | None = None
        self.peer_ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.peer is not None:
            self.peer.close()

    def note(self, event: str) -> None:
        """Records `event`, with the state of the transport."""
        transport = self.transport
        if transport is not None:
            event += " closing" if transport.is_closing() else ""
            event += " reading" if transport.is_reading() else ""
        self.record.append(event)

    # Connecting.

    def make_protocol(self, *, buffered: bool) -> _Player | _BufferedPlayer:
        protocol = (_BufferedPlayer if buffered else _Player)(self, self.protocols)
        self.protocols += 1
        self.born.append(weakref.ref(protocol))
        return protocol

    def connect(self, listener: socket.socket) -> None:
        """Connects with `create_connection()`."""
        ours = socket.create_connection(listener.getsockname())
        self.peer, _ = listener.accept()
        task = self.loop.create_task(
            self.loop.create_connection(
                lambda: self.make_protocol(buffered=self.script.buffered), sock=ours
            )
        )
        del ours
        self._turn_until(task.done)
        task.result()
        self.settle()

    def accept(self, address: tuple[str, int]) -> None:
        """Accepts a connection on the server."""
        self.peer = socket.socket()
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.peer.connect(address)
        self._turn_until(lambda: self.transport is not None)
        self.settle()

    def made(self, transport: asyncio.Transport) -> None:
        """Stores the new transport."""
        assert self.transport is None
        assert self.peer is not None
        self.transport = transport
        self.born.append(weakref.ref(transport))
        self.peer.setblocking(False)
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def _socket(self) -> Any:  # noqa: ANN401 - asyncio.trsock.TransportSocket
        assert self.transport is not None
        return self.transport.get_extra_info("socket")

    # Turns.

    def turn(self) -> None:
        """Runs one turn of the loop, or less if a callback stops it or raises out of it."""
        self.loop.stop()
        try:
            self.loop.run_forever()
        except SystemExit:
            self.note("left")

    def _turn_until(self, condition: Callable[[], bool]) -> None:
        for _ in self._rounds():
            if condition():
                return
            self.turn()

    def settle(self) -> None:
        """Runs turns of the loop until nothing new happens."""
        quiet = 0
        for _ in self._rounds():
            before = len(self.record)
            self.turn()
            quiet = quiet + 1 if len(self.record) == before else 0
            if quiet == QUIET_TURNS:
                return

    def _rounds(self) -> Iterator[None]:
        """Yields until a generous limit."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            yield
        raise AssertionError(f"{self.script} is stuck: {self.record[-50:]}")

    def run(self) -> None:
        """Plays the steps, then ends the connection."""
        assert self.transport is not None
        for name, number, ops in self.script.steps:
            self.record.append(name)
            if self._step(name, number, ops):
                self.settle()
        self.record.append("end")
        self._drain()
        if not self.lost:
            self.transport.abort()
        self.settle()
        self._drain()
        assert self.lost, f"{self.script} is never lost: {self.record}"
        assert not self.late, f"{self.script} goes on after connection_lost: {self.record}"
        # After an abrupt end, the kernel decides how much of a big write still arrives.
        assert self.peer is not None
        if self.peer.fileno() >= 0 and not (self.wrote_big and self.cut_short):
            self.record.append(f"the peer got {self.arrived} bytes")
        # Release all references: an object that is still alive then is a leak.
        self.transport = None
        self.callbacks.clear()

    # Events on the connection.

    def _step(self, name: str, number: int, ops: tuple[Op, ...]) -> bool:
        """Runs one step; returns `False` if there was nothing to do."""
        if name == "send":
            return self._send(SENDS[number % len(SENDS)])
        if name == "send_twice":
            first = self._send(SENDS[number % len(SENDS)])
            return self._send(SENDS[number // 8 % len(SENDS)]) or first
        if name == "send_and_eof":
            sent = self._send(SENDS[number % len(SENDS)])
            return self._end() or sent
        if name == "eof":
            return self._end()
        if name == "reset":
            return self._reset()
        if name == "drain":
            return self._drain()
        if name == "inside":
            with contextlib.suppress(SystemExit):
                try:
                    self.perform(ops)
                except (RuntimeError, ZeroDivisionError) as error:
                    self.note(f"raised {type(error).__name__}")
            return bool(ops)
        self.call_soon(ops)
        return True

    def _send(self, size: int) -> bool:
        if self.lost or self.peer_ended:
            return False
        assert self.peer is not None
        assert self.transport is not None
        if not self.transport.is_reading() and self.unread + size > UNREAD_LIMIT:
            return False
        fd = self._socket().fileno()
        there = unread_bytes(fd)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.peer.send(bytes(size))
            # Loopback is fast, but a busy kernel delivers later.
            wait_for(fd, lambda: unread_bytes(fd) == there + size)
        self.unread = there + size
        return True

    def _end(self) -> bool:
        if self.lost or self.peer_ended:
            return False
        assert self.peer is not None
        self.peer_ended = True
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_WR)
            wait_for(self._socket().fileno(), lambda: False, select.POLLRDHUP)
        return True

    def _reset(self) -> bool:
        assert self.transport is not None
        if self.lost or self.peer_ended or self.transport.is_closing():
            return False
        assert self.peer is not None
        # A reset is noticed by the next system call, so a reader or writer must be registered.
        self.transport.resume_reading()
        self.peer_ended = True
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        wait_for(self._socket().fileno(), lambda: False, select.POLLHUP | select.POLLERR)
        return True

    def _drain(self) -> bool:
        """Reads, as the peer, everything that was written."""
        assert self.peer is not None
        assert self.transport is not None
        if self.peer.fileno() < 0:
            return False
        for _ in self._rounds():
            self.turn()
            arrived = self._sent_everything()
            try:
                data = self.peer.recv(1 << 20)
            except BlockingIOError:
                if arrived:
                    break
            except ConnectionResetError:
                self.cut_short = True
                break
            else:
                if not data:
                    break
                self.arrived += len(data)
        self.big_writes = 0
        return True

    def _sent_everything(self) -> bool:
        """Returns whether neither the transport nor the kernel on this side has unsent data."""
        assert self.transport is not None
        if self.lost:
            return False  # The peer will see the end.
        unsent = array.array("i", [0])
        fcntl.ioctl(self._socket().fileno(), termios.TIOCOUTQ, unsent)
        return not self.transport.get_write_buffer_size() and not unsent[0]

    # Actions of protocol methods and callbacks.

    def call_soon(self, ops: tuple[Op, ...]) -> None:
        """Schedules a callback that performs `ops`."""
        number = len(self.callbacks)

        def callback() -> None:
            self.note(f"callback {number}")
            self.perform(ops, self.callbacks[number])

        self.callbacks.append(self.loop.call_soon(callback))

    def react(self, protocol: int, method: str) -> None:
        """Records the call and performs the script's reaction."""
        self.note(f"{protocol} {method}")
        self.late = self.late or self.lost
        self.lost = self.lost or method == "connection_lost"
        self.within.append(method)
        try:
            self.perform(next(self.reactions, ()))
        finally:
            self.within.pop()

    def perform(self, ops: tuple[Op, ...], handle: asyncio.Handle | None = None) -> None:
        """Performs `ops` in order; stops at the first that raises."""
        for name, number in ops:
            if self._allowed(name):
                self._perform(name, number, handle)

    def _allowed(self, name: str) -> bool:
        """Returns `False` for what asyncio's loop gets wrong, and for what the kernel decides."""
        assert self.transport is not None
        closing = self.transport.is_closing()
        if "resume_writing" in self.within and (
            closing or name in ("close", "abort", "write_eof", "call_soon", "exit")
        ):
            # gh-156512: a transport closed in resume_writing() may end twice; if SystemExit is
            # raised there, an assertion fails in every later turn.
            return False
        if "connection_made" in self.within and name == "pause_reading":
            return False  # gh-103607: ignored before 3.12.
        if self.lost and self.wrote_big and name.startswith(("abort", "write")):
            return False  # A transport that sent its last bytes after close() accepts no calls.
        if name == "writelines":
            return not closing  # gh-136234: fails on a lost connection before 3.13.6.
        if name in ("write_small", "write_big") and closing:
            # gh-115514: data written while closing is not sent before 3.13.2.
            return not self.big_writes
        if name == "write_big":
            return self.big_writes < BIG_AT_ONCE
        if name in ("higher_mark", "default_mark"):
            return not self.big_writes and not closing
        return True

    def _perform(self, name: str, number: int, handle: asyncio.Handle | None) -> None:
        transport = self.transport
        assert transport is not None
        if name == "write_small":
            transport.write(bytes(SMALL[number % len(SMALL)]))
        elif name == "write_big":
            if not transport.is_closing():
                self.big_writes += 1
                self.wrote_big = True
            transport.write(bytes(BIG[number % len(BIG)]))
        elif name == "writelines":
            # No empty item at the end: asyncio's transport would keep it forever.
            transport.writelines([bytes(size) for size in (17, 0, 500)[2 - number % 3 :]])
        elif name == "higher_mark":
            transport.set_write_buffer_limits(high=HIGHER_MARK)
        elif name == "default_mark":
            transport.set_write_buffer_limits()
        elif name in ("set_protocol", "set_buffered_protocol"):
            transport.set_protocol(self.make_protocol(buffered=name != "set_protocol"))
        elif name == "call_soon":
            self.call_soon(next(self.reactions, ()))
        elif name == "cancel":
            if self.callbacks:
                self.callbacks[number % len(self.callbacks)].cancel()
        elif name == "cancel_itself":
            if handle is not None:
                handle.cancel()
        elif name == "stop":
            self.loop.stop()
        elif name == "raise":
            raise ZeroDivisionError
        elif name == "exit":
            raise SystemExit
        elif name == "close_loop":
            if self.loop.is_running():
                self.loop.close()  # Raises: a running loop cannot be closed.
        else:
            self.cut_short = self.cut_short or name == "abort"
            getattr(transport, name)()


class _Calls:
    """The common part of both players."""

    def __init__(self, play: _Play, number: int) -> None:
        self._play = play
        self._number = number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._play.made(transport)
        self._play.react(self._number, "connection_made")

    def pause_writing(self) -> None:
        self._play.react(self._number, "pause_writing")

    def resume_writing(self) -> None:
        self._play.react(self._number, "resume_writing")

    def eof_received(self) -> bool:
        self._play.react(self._number, "eof_received")
        return next(self._play.answers, False)

    def connection_lost(self, exc: BaseException | None) -> None:
        # Which of the two errors a dead connection raises depends on the first system call.
        name = "ConnectionError" if isinstance(exc, ConnectionError) else type(exc).__name__
        self._play.note(f"with {name}")
        self._play.cut_short = self._play.cut_short or exc is not None
        self._play.react(self._number, "connection_lost")


class _Player(_Calls, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self._play.unread = 0
        self._play.note(f"{len(data)} bytes")
        self._play.react(self._number, "data_received")


class _BufferedPlayer(_Calls, asyncio.BufferedProtocol):
    def __init__(self, play: _Play, number: int) -> None:
        super().__init__(play, number)
        self._buffer = bytearray(64 * 1024)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._play.unread = 0
        self._play.note(f"{nbytes} bytes")
        self._play.react(self._number, "data_received")


def unread_bytes(fd: int) -> int:
    """Returns the number of bytes that the kernel holds for a reader of `fd`."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def wait_for(fd: int, condition: Callable[[], bool], events: int = 0) -> None:
    """Returns when `condition` holds, or the kernel reports one of `events` on `fd`."""
    poll = select.poll()
    poll.register(fd, events or select.POLLIN)
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if poll.poll(1) and events:
            return
        assert time.monotonic() < end, "the kernel has not delivered"
