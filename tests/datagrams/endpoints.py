"""Endpoints, plain sockets as their peers, and a protocol that records how it is called."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

#: Seconds to wait for something that must happen. Generous, because the machine may be busy.
PATIENCE_S = 10.0

Address = Any


class Recorder(asyncio.DatagramProtocol):
    """Records how it is called.

    Attributes:
        on: functions by method name, called after the call was recorded.
        calls: the called methods, without `datagram_received`.
        received: data and sender of each datagram.
        errors: the arguments of `error_received`.
        lost_with: the argument of `connection_lost`.
    """

    def __init__(self, **on: Callable[..., object]) -> None:
        """Start without calls."""
        self.on = on
        self.calls: list[str] = []
        self.received: list[tuple[bytes, Address]] = []
        self.errors: list[Exception] = []
        self.lost_with: BaseException | None = None
        self.made_with: asyncio.BaseTransport | None = None
        self._changed: list[asyncio.Future[None]] = []

    @property
    def transport(self) -> Any:  # noqa: ANN401 - asyncio's has more methods than its type says.
        """The transport passed to `connection_made`."""
        assert self.made_with is not None
        return self.made_with

    @property
    def data(self) -> list[bytes]:
        """The received data, without the senders."""
        return [data for data, _ in self.received]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self.made_with = transport
        self._record("connection_made")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Stores the datagram."""
        assert type(data) is bytes
        self.received.append((data, addr))
        self._record("datagram_received", data, addr)

    def error_received(self, exc: Exception) -> None:
        """Stores the error."""
        self.errors.append(exc)
        self._record("error_received", exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stores the error."""
        self.lost_with = exc
        self._record("connection_lost", exc)

    def pause_writing(self) -> None:
        """Records the call."""
        self._record("pause_writing")

    def resume_writing(self) -> None:
        """Records the call."""
        self._record("resume_writing")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition` holds; it is evaluated after every call."""
        loop = asyncio.get_running_loop()
        while not condition():
            changed: asyncio.Future[None] = loop.create_future()
            self._changed.append(changed)
            try:
                await asyncio.wait_for(changed, PATIENCE_S)
            except TimeoutError:
                raise AssertionError(f"waited in vain after {self.calls}") from None

    async def until_received(self, count: int) -> None:
        """Returns when that many datagrams have arrived."""
        await self.until(lambda: len(self.received) >= count)

    async def until_called(self, name: str) -> None:
        """Returns when `name` was called."""
        await self.until(lambda: name in self.calls)

    def _record(self, name: str, *arguments: object) -> None:
        self.calls.append(name)
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)
        if (action := self.on.get(name)) is not None:
            action(*arguments)


@contextlib.asynccontextmanager
async def endpoint(
    protocol: Recorder | None = None, **options: Any
) -> AsyncGenerator[Recorder, None]:
    """An endpoint that is closed at the end; bound to IPv4 loopback unless `options` differ."""
    recorder = Recorder() if protocol is None else protocol
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: recorder, **(options or {"local_addr": ("127.0.0.1", 0)})
    )
    assert made is recorder
    assert transport is recorder.transport
    try:
        yield recorder
    finally:
        transport.close()
        await recorder.until_called("connection_lost")


def name_of(recorder: Recorder) -> Address:
    """Returns the address that an endpoint is bound to."""
    return recorder.transport.get_extra_info("sockname")


def bound(family: int = socket.AF_INET, address: Address = ("127.0.0.1", 0)) -> socket.socket:
    """Returns a blocking socket with a timeout, as a peer of endpoints."""
    peer = socket.socket(family, socket.SOCK_DGRAM)
    peer.settimeout(PATIENCE_S)
    peer.bind(address)
    return peer
