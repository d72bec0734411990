"""Protocols that record their calls, and run blocks of the program in them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.run import Run


class Recorder:
    """The common part of all protocols."""

    def __init__(
        self,
        run: Run,
        *,
        keep: object = None,
        buffer: object = None,
        **actions: Callable[[], object],
    ) -> None:
        """Store the arguments; in expressions, those after `run` are given.

        Args:
            run: the run that records events.
            keep: the result of `eof_received()`.
            buffer: the result of `get_buffer()`; `None` means a valid buffer.
            actions: by the name of a callback, what it does the first time.
        """
        self.name = run.next_name("protocol")
        self.transport: Any = None
        self._run = run
        self._keep = keep
        self._buffer: object = bytearray(4096) if buffer is None else buffer
        self._actions = actions

    def note(self, event: str, amount: int = 1) -> None:
        """Records an event and performs the program's action for it."""
        self._run.events[f"{self.name} {event}"] += amount
        action = self._actions.pop(event, None)
        if action is not None:
            action()


class Base(Recorder):
    """The callbacks of all connections."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - any transport.
        """The connection is made."""
        self.transport = transport
        self._run.transports.append(transport)
        self.note("connection_made")

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended."""
        self.note("connection_lost")
        self._run.events[f"{self.name} lost with {type(exc).__name__}"] += 1

    def pause_writing(self) -> None:
        """The buffer is full."""
        self.note("pause_writing")

    def resume_writing(self) -> None:
        """The buffer has room."""
        self.note("resume_writing")

    def eof_received(self) -> Any:  # noqa: ANN401 - a hostile one returns anything.
        """The peer has sent EOF."""
        self.note("eof_received")
        return self._keep


class Plain(Base, asyncio.Protocol):
    """A stream protocol."""

    def data_received(self, data: bytes) -> None:
        """Data has arrived."""
        self.note("data_received", len(data))


class Buffered(Base, asyncio.BufferedProtocol):
    """A stream protocol with its own buffer."""

    def get_buffer(self, sizehint: int) -> Any:  # noqa: ANN401 - a hostile one returns anything.
        """Returns the buffer."""
        action = self._actions.pop("get_buffer", None)
        if action is not None:
            action()
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Data has arrived."""
        self.note("buffer_updated", nbytes)


class Datagrams(Base, asyncio.DatagramProtocol):
    """A datagram protocol."""

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A datagram has arrived."""
        self.note("datagram_received")

    def error_received(self, exc: Exception) -> None:
        """A network error occurred."""
        self.note("error_received")


class Child(Base, asyncio.SubprocessProtocol):
    """The protocol of a child process."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """The child has written data."""
        self.note("pipe_data_received", len(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """A pipe was closed."""
        self.note("pipe_connection_lost")

    def process_exited(self) -> None:
        """The child has exited."""
        self.note("process_exited")


class Duck(Base):
    """A stream protocol that does not derive from asyncio's."""

    def data_received(self, data: bytes) -> None:
        """Data has arrived."""
        self.note("data_received", len(data))


def lacking(run: Run, *names: str, **arguments: Any) -> object:
    """Returns a protocol without a base class, and with some methods missing."""
    lacks = {name: property(_missing) for name in names}
    protocol = type("Lacking", (Duck,), lacks)
    return protocol(run, **arguments)


def _missing(self: object) -> object:
    raise AttributeError
