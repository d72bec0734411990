"""Protocols that write down what they are told, and run blocks of the program when they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.run import Run


class Recorder:
    """What all protocols share."""

    def __init__(
        self,
        run: Run,
        *,
        keep: object = None,
        buffer: object = None,
        **actions: Callable[[], object],
    ) -> None:
        """Protocols are made in expressions, which pass what follows `run`.

        Args:
            run: where to write.
            keep: what `eof_received()` returns.
            buffer: what `get_buffer()` returns; `None` stands for a good one.
            actions: by the name of a callback, what it does the first time.
        """
        self.name = run.next_name("protocol")
        self.transport: Any = None
        self._run = run
        self._keep = keep
        self._buffer: object = bytearray(4096) if buffer is None else buffer
        self._actions = actions

    def note(self, event: str, amount: int = 1) -> None:
        """Writes an event down and does what the program wants then."""
        self._run.events[f"{self.name} {event}"] += amount
        action = self._actions.pop(event, None)
        if action is not None:
            action()


class Base(Recorder):
    """The callbacks of every connection."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - any transport.
        """The connection is there."""
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
        """The peer sends no more."""
        self.note("eof_received")
        return self._keep


class Plain(Base, asyncio.Protocol):
    """A stream protocol."""

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.note("data_received", len(data))


class Buffered(Base, asyncio.BufferedProtocol):
    """A stream protocol with a buffer of its own."""

    def get_buffer(self, sizehint: int) -> Any:  # noqa: ANN401 - a hostile one returns anything.
        """Where to."""
        action = self._actions.pop("get_buffer", None)
        if action is not None:
            action()
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.note("buffer_updated", nbytes)


class Datagrams(Base, asyncio.DatagramProtocol):
    """A datagram protocol."""

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A datagram came."""
        self.note("datagram_received")

    def error_received(self, exc: Exception) -> None:
        """The network has an error."""
        self.note("error_received")


class Child(Base, asyncio.SubprocessProtocol):
    """A child process's protocol."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """The child wrote."""
        self.note("pipe_data_received", len(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """A pipe ended."""
        self.note("pipe_connection_lost")

    def process_exited(self) -> None:
        """The child ended."""
        self.note("process_exited")


class Duck(Base):
    """A stream protocol that is no subclass of asyncio's."""

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.note("data_received", len(data))


def lacking(run: Run, *names: str, **arguments: Any) -> object:
    """A protocol by its methods only, of which some are missing."""
    lacks = {name: property(_missing) for name in names}
    protocol = type("Lacking", (Duck,), lacks)
    return protocol(run, **arguments)


def _missing(self: object) -> object:
    raise AttributeError
