"""Protocols that scenarios share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.faults.stage import SENT

if TYPE_CHECKING:
    from tests.faults.stage import Stage


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def __init__(self, stage: Stage) -> None:
        """Store `stage`."""
        self.stage = stage
        self.transport: Any = None
        self.seen = bytearray()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - of any kind.
        """Stores the transport."""
        self.transport = transport
        self.stage.opened(transport)
        self.stage.step()

    def data_received(self, data: bytes) -> None:
        """Sends it back."""
        self.stage.step()
        self.seen += data
        self.stage.check(self.seen, whole=False)
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to do."""
        self.stage.step()


class Whole(asyncio.Protocol):
    """Sends all, and its result is set when all has come back."""

    def __init__(self, stage: Stage, sends: bytes = SENT, expects: bytes = SENT) -> None:
        """Store what is sent and what must come back."""
        self.stage = stage
        self.sends = sends
        self.expects = expects
        self.seen = bytearray()
        self.over: asyncio.Future[None] = stage.loop.create_future()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - of any kind.
        """Sends all."""
        self.stage.opened(transport)
        self.stage.step()
        if self.sends:
            transport.write(self.sends)

    def data_received(self, data: bytes) -> None:
        """A part has come back."""
        self.stage.step()
        self.seen += data
        self.stage.check(self.seen, self.expects, whole=False)
        if len(self.seen) == len(self.expects) and not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It ends the scenario if not all has come back."""
        if not self.over.done():
            self.over.set_exception(exc or ConnectionError("closed early"))
            self.over.exception()  # It may be no surprise.
        self.stage.step()


class BufferedWhole(asyncio.BufferedProtocol):
    """The same, with a buffer of its own."""

    def __init__(self, stage: Stage) -> None:
        """Store `stage`."""
        self.whole = Whole(stage)
        self.buffer = bytearray(3000)

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - of any kind.
        """Sends all."""
        self.whole.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns a small buffer."""
        self.whole.stage.step()
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """A part has come back."""
        self.whole.data_received(bytes(memoryview(self.buffer)[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """It ends the scenario if not all has come back."""
        self.whole.connection_lost(exc)
