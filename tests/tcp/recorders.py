"""Protocols that record how they are called."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import array
    import mmap
    from collections.abc import Callable, Mapping

    Buffer = bytearray | memoryview | array.array[int] | mmap.mmap

#: Seconds to wait for something that must happen. Generous, because the machine may be busy.
PATIENCE_S = 30.0


class _Calls:
    """The common part of both recorders.

    Args:
        on: functions by method name, called after the call was recorded. For `eof_received` and
            `get_buffer`, the method returns the function's result.

    Attributes:
        calls: names of the called methods. Repeated `data_received`, or pairs of `get_buffer` and
            `buffer_updated`, count once, because the kernel decides how data is split.
        received: the bytes.
        lost_with: the argument of `connection_lost`.
    """

    def __init__(self, on: Mapping[str, Callable[[Any], object]] | None = None) -> None:
        self.on: dict[str, Callable[[Any], object]] = dict(on or {})
        self.calls: list[str] = []
        self.received: bytearray = bytearray()
        self.lost_with: BaseException | None = None
        self._transport: asyncio.Transport | None = None
        self._changed: list[asyncio.Future[None]] = []

    @property
    def transport(self) -> asyncio.Transport:
        """The transport passed to `connection_made`."""
        assert self._transport is not None
        return self._transport

    @property
    def lost(self) -> bool:
        """Whether `connection_lost` was called."""
        return "connection_lost" in self.calls

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

    async def until_lost(self) -> None:
        """Returns when the connection is lost."""
        await self.until(lambda: self.lost)

    async def until_called(self, name: str, times: int) -> None:
        """Returns when `name` was called that often."""
        await self.until(lambda: self.calls.count(name) >= times)

    async def until_received(self, count: int) -> None:
        """Returns when `count` bytes have arrived."""
        await self.until(lambda: len(self.received) >= count)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._record("connection_made")

    def pause_writing(self) -> None:
        """Records the call."""
        self._record("pause_writing")

    def resume_writing(self) -> None:
        """Records the call."""
        self._record("resume_writing")

    def eof_received(self) -> bool | None:
        """Lets the transport close, as protocols do by default, unless `on` returns otherwise."""
        return bool(self._record("eof_received"))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stores the exception."""
        self.lost_with = exc
        self._record("connection_lost")

    def _record(self, name: str) -> object:
        if name not in ("data_received", "buffer_updated") or self.calls[-1:] != [name]:
            self.calls.append(name)
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)
        self._changed.clear()
        action = self.on.get(name)
        return action(self) if action is not None else None


class Recorder(_Calls, asyncio.Protocol):
    """A `Protocol` that records how it is called."""

    def data_received(self, data: bytes) -> None:
        """Stores the data, whose type must be exactly `bytes`."""
        assert type(data) is bytes
        assert data
        self.received += data
        self._record("data_received")


class BufferedRecorder(_Calls, asyncio.BufferedProtocol):
    """A `BufferedProtocol` that records how it is called.

    Args:
        on: as for `Recorder`.
        buffer: the buffer to read into.
    """

    def __init__(
        self,
        on: Mapping[str, Callable[[Any], object]] | None = None,
        buffer: Buffer | None = None,
    ) -> None:
        """Reads into 64 KiB by default."""
        super().__init__(on)
        self.buffer: Buffer = bytearray(64 * 1024) if buffer is None else buffer

    def get_buffer(self, sizehint: int) -> Buffer:
        """Returns the buffer. Not recorded: loops may call it at any rate."""
        assert isinstance(sizehint, int)
        action = self.on.get("get_buffer")
        return self.buffer if action is None else cast("Buffer", action(self))

    def buffer_updated(self, nbytes: int) -> None:
        """Stores the bytes."""
        assert nbytes > 0
        with memoryview(self.buffer) as view:
            self.received += view.cast("B")[:nbytes]
        self._record("buffer_updated")


AnyRecorder = Recorder | BufferedRecorder
