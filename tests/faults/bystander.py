"""A connection of the same loop that has nothing to do with the fault."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tests.faults.injections import Injection


class Bystander(asyncio.Protocol):
    """Two ends of a connection. Each exchange is one message there and back."""

    def __init__(self) -> None:
        """Start without data."""
        self.received = bytearray()
        self.sent = bytearray()
        self.arrived: asyncio.Event = asyncio.Event()
        #: Whether its transport was told that the connection is over.
        self.is_lost = False
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None

    @classmethod
    async def start(cls, injection: Injection) -> Bystander:
        """Connects both ends."""
        loop = asyncio.get_running_loop()
        ends = socket.socketpair()
        for end in ends:
            spare = getattr(injection, "spare", None)
            if spare is not None:
                spare(end.fileno())
        bystander = cls()
        other, _ = await loop.connect_accepted_socket(lambda: _Echo(bystander), ends[0])
        transport, _ = await loop.connect_accepted_socket(lambda: bystander, ends[1])
        bystander.other = other
        bystander.transport = transport
        await bystander.exchange(b"first")
        return bystander

    def data_received(self, data: bytes) -> None:
        """The answer."""
        self.received += data
        if len(self.received) == len(self.sent):
            self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Only a lack of memory may do that."""
        self.is_lost = True
        self.arrived.set()

    def send(self, message: bytes) -> None:
        """Sends a message, whose answer arrives later."""
        assert self.transport is not None
        self.arrived.clear()
        self.sent += message
        self.transport.write(message)

    async def exchange(self, message: bytes) -> None:
        """Sends a message and waits for the answer."""
        self.send(message)
        await self.arrived.wait()

    def goes_on(self) -> bool:
        """Whether all that was sent has come back."""
        return not self.is_lost and self.received == self.sent

    def close(self) -> None:
        """Closes both ends."""
        for end in (self.transport, self.other):
            if end is not None:
                end.close()


class _Echo(asyncio.Protocol):
    def __init__(self, bystander: Bystander) -> None:
        self._bystander = bystander
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._bystander.connection_lost(exc)
