"""Programs that change a used stream, or asyncio's classes, get what asyncio gives them."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from tests.tcp.adopted import adopted, adopts, arrive, is_adopted
from tests.tcp.peers import read_exactly, turns
from tests.tcp.streams import streams

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("kind", [mock.MagicMock, mock.AsyncMock])
def test_a_replacement_in_the_class_is_bound_as_usual(
    loop: asyncio.AbstractEventLoop, kind: Callable[[], Any]
) -> None:
    """A mock binds no object; a function does."""
    seen: list[object] = []

    def write(self: asyncio.StreamWriter, data: bytes) -> None:
        seen.append((self, data))

    async def main() -> None:
        async with adopted() as ((reader, writer), _):
            with mock.patch.object(asyncio.StreamWriter, "write", kind()) as replacement:
                changed: Any = writer
                made = changed.write(b"a")
                if asyncio.iscoroutine(made):
                    await made
            replacement.assert_called_once_with(b"a")
            with mock.patch.object(asyncio.StreamWriter, "write", write):
                writer.write(b"b")
            assert seen == [(writer, b"b")]
            with mock.patch.object(asyncio.StreamReader, "read", mock.AsyncMock()) as replacement:
                replacement.return_value = b"c"
                assert await reader.read(3) == b"c"
            replacement.assert_called_once_with(3)

    loop.run_until_complete(main())


def test_another_class_finds_the_buffer_that_it_needs(loop: asyncio.AbstractEventLoop) -> None:
    class Reader(asyncio.StreamReader):
        pass

    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            reading = asyncio.ensure_future(reader.read(10))
            await arrive(writer, peer, b"before")
            assert await reading == b"before"
            with pytest.raises((TypeError, AttributeError)):
                delattr(reader, "__class__")
            with pytest.raises(TypeError, match="__class__"):
                reader.__class__ = int  # type: ignore[assignment]
            reader.__class__ = Reader
            assert type(reader) is Reader
            peer.sendall(b"after\nrest")
            assert await reader.readline() == b"after\n"
            assert await reader.readexactly(4) == b"rest"

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["readexactly", "readuntil", "readline"])
def test_errors_have_the_context_of_what_is_handled(
    loop: asyncio.AbstractEventLoop, name: str
) -> None:
    async def read(reader: asyncio.StreamReader) -> BaseException:
        handled = KeyError("handled")
        kinds = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)
        try:
            raise handled
        except KeyError:
            with pytest.raises(kinds) as raised:
                await (
                    reader.readexactly(100) if name == "readexactly" else getattr(reader, name)()
                )
        caught = raised.value
        context = caught.__context__
        if name == "readline":
            assert isinstance(context, asyncio.LimitOverrunError)
            context = context.__context__
        assert context is handled
        return caught

    async def main() -> None:
        async with adopted(limit=10) as ((reader, writer), peer):
            await arrive(writer, peer, b"x" * 30)
            if name == "readexactly":
                reader.feed_eof()
            await read(reader)

    loop.run_until_complete(main())


def test_a_line_ends_at_errors_that_a_program_sets(loop: asyncio.AbstractEventLoop) -> None:
    errors = asyncio.IncompleteReadError(b"part", 9), asyncio.LimitOverrunError("too long", 2)

    async def main() -> None:
        async with adopted() as ((reader, _), _peer):
            reading = asyncio.ensure_future(reader.readline())
            await turns(2)
            reader.set_exception(errors[0])
            assert await reading == b"part"
        async with adopted() as ((reader, _), _peer):
            reading = asyncio.ensure_future(reader.readline())
            await turns(2)
            reader.set_exception(errors[1])
            with pytest.raises(ValueError, match="too long") as caught:
                await reading
            assert caught.value.__context__ is errors[1]

    loop.run_until_complete(main())


@pytest.mark.parametrize("false", [0, None, ""])
def test_an_end_may_be_any_object(loop: asyncio.AbstractEventLoop, false: object) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            seen: Any = reader
            seen._eof = false
            reading = asyncio.ensure_future(reader.read(10))
            await turns(2)
            assert not reading.done()
            await arrive(writer, peer, b"data")
            assert await reading == b"data"
            seen._eof = "yes"
            assert await reader.read(10) == b""
            seen._eof = False

    loop.run_until_complete(main())


def test_a_deleted_buffer_is_an_attribute_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            seen: Any = reader
            del seen._buffer
            for attempt in (lambda: seen._buffer, lambda: delattr(seen, "_buffer")):
                with pytest.raises(AttributeError, match="_buffer"):
                    attempt()
            seen._buffer = bytearray()
            writer.write(b"on")
            assert await read_exactly(peer, 2) == b"on"

    loop.run_until_complete(main())


@pytest.mark.parametrize("used", [True, False])
def test_a_transport_without_flow_control_is_left_alone(
    loop: asyncio.AbstractEventLoop, used: bool
) -> None:
    """Asyncio calls the `pause_reading` that it finds, or forgets the transport."""

    def refuse() -> None:
        calls.append("pause")
        raise NotImplementedError

    calls: list[str] = []

    async def main() -> None:
        context = adopted(limit=10) if used else streams(limit=10)
        async with context as ((reader, writer), peer):
            transport: Any = writer.transport
            transport.pause_reading = refuse
            peer.sendall(bytes(100))
            while not calls:  # noqa: ASYNC110 - no event tells.
                await asyncio.sleep(0)
            seen: Any = reader
            assert calls == ["pause"]
            assert seen._transport is None
            assert not seen._paused
            assert await reader.readexactly(100) == bytes(100)

    loop.run_until_complete(main())


def test_what_a_program_does_to_a_result_concerns_no_other_read(
    loop: asyncio.AbstractEventLoop,
) -> None:
    def result(read: Any) -> StopIteration:  # noqa: ANN401 - an awaitable's iterator
        with pytest.raises(StopIteration) as caught:
            next(read)
        return caught.value

    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"12345")
            seen = result(reader.read(1).__await__())
            assert seen.value == b"1"
            seen.args = (7, 8)
            seen.__cause__ = KeyError("a program's")
            seen.__traceback__ = None
            seen.__context__ = None
            del seen
            again = result(reader.read(1).__await__())
            assert (again.value, again.__cause__) == (b"2", None)
            assert again.args != (7, 8)

    loop.run_until_complete(main())


def test_a_python_awaitable_around_a_read_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    class Around:
        def __init__(self, read: Any) -> None:  # noqa: ANN401 - an awaitable's iterator
            self.read = read

        def __await__(self) -> Around:
            return self

        def __iter__(self) -> Around:
            return self

        def __next__(self) -> Any:  # noqa: ANN401
            return next(self.read)

    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"12345")
            around = Around(reader.read(5).__await__())
            awaitable: Any = around
            assert await awaitable == b"12345"
            del awaitable
            collected = weakref.ref(around)
            del around
            await asyncio.sleep(0.001)  # The loop waits.
            gc.collect()
            assert collected() is None

    loop.run_until_complete(main())


def test_an_audit_hook_that_refuses_another_class_leaves_a_stream_as_it_is(
    loop: asyncio.AbstractEventLoop,
) -> None:
    refused: list[object] = []
    refusing = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if refusing and event == "object.__setattr__" and arguments[1] == "__class__":
            refused.append(arguments[0])
            raise PermissionError

    async def main() -> None:
        nonlocal refusing
        async with streams() as ((reader, writer), peer):
            refusing = True
            for _ in range(4):
                writer.write(b"up")
                await writer.drain()
                peer.sendall(b"down")
                assert await reader.readexactly(4) == b"down"
            refusing = False
            assert await read_exactly(peer, 8) == b"up" * 4
            assert not is_adopted(reader)
            assert not is_adopted(writer)
            if adopts(loop):
                assert {reader, writer} <= set(refused)

    sys.addaudithook(hook)
    try:
        loop.run_until_complete(main())
    finally:
        refusing = False
