"""A reader and a writer that have been used: native methods, and everything else as before."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import socket
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.adopted import adopted, adopts, arrive, is_adopted
from tests.tcp.peers import read_exactly, turns
from tests.tcp.streams import peek, streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Call = "Callable[[asyncio.StreamReader], Awaitable[bytes]]"

#: Reads that all return the first two bytes of `b"a\n"`.
READS: dict[str, Callable[[Any], Any]] = {
    "read": lambda reader: reader.read(2),
    "readexactly": lambda reader: reader.readexactly(2),
    "readuntil": lambda reader: reader.readuntil(b"\n"),
    "readline": lambda reader: reader.readline(),
}


def test_a_stream_used_once_keeps_its_classes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, writer), peer):
            writer.write(b"a")
            peer.sendall(b"b")
            assert await reader.readexactly(1) == b"b"
            peer.shutdown(socket.SHUT_WR)
            assert await reader.read() == b""
            assert not is_adopted(reader)
            assert not is_adopted(writer)

    loop.run_until_complete(main())


def test_an_adopted_stream_looks_like_asyncios(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            for stream, base in ((reader, asyncio.StreamReader), (writer, asyncio.StreamWriter)):
                cls = type(stream)
                assert isinstance(stream, base)
                assert (cls.__name__, cls.__module__, cls.__doc__) == (
                    base.__name__,
                    base.__module__,
                    base.__doc__,
                )
                assert cls.__qualname__ == base.__qualname__
                assert not is_adopted(stream) or cls.__mro__[1] is base
            assert repr(reader).startswith("<StreamReader transport=<")
            assert repr(writer).startswith("<StreamWriter transport=<")
            await arrive(writer, peer, b"three")
            assert repr(reader).startswith("<StreamReader 5 bytes transport=<")
            assert inspect.signature(reader.read) == inspect.signature(asyncio.StreamReader().read)
            for name in ("readexactly", "readuntil", "readline"):
                signature = inspect.signature(getattr(reader, name))
                assert signature == inspect.signature(getattr(asyncio.StreamReader(), name))

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", READS)
def test_every_driver_accepts_a_read(loop: asyncio.AbstractEventLoop, name: str) -> None:
    def as_it_is(call: Awaitable[Any]) -> Awaitable[Any]:
        return call

    async def main() -> None:
        read: Callable[[asyncio.StreamReader], Any] = READS[name]
        async with adopted() as ((reader, writer), peer):
            drivers: list[Any] = [
                as_it_is,
                loop.create_task,
                functools.partial(asyncio.wait_for, timeout=30),
                asyncio.gather,
                asyncio.shield,
                asyncio.ensure_future,
            ]
            for is_there in (True, False):
                for drive in drivers:
                    if is_there:
                        await arrive(writer, peer, b"a\n")
                    else:
                        loop.call_soon(peer.sendall, b"a\n")
                    assert asyncio.iscoroutine(call := read(reader))
                    assert await drive(call) in (b"a\n", [b"a\n"])
            reading = loop.create_task(reader.readexactly(3))
            await turns(2)
            coroutine: Any = reading.get_coro()
            assert coroutine.cr_await is vars(reader)["_waiter"] or not adopts(loop)
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
            if sys.version_info >= (3, 14):
                graph = asyncio.capture_call_graph(reading)
                assert graph is not None
                assert graph.future is reading
                assert asyncio.format_call_graph(reading)
            peer.sendall(b"end")
            assert await reading == b"end"

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", READS)
def test_a_read_that_was_never_awaited_warns(loop: asyncio.AbstractEventLoop, name: str) -> None:
    def forget(reader: asyncio.StreamReader) -> None:
        READS[name](reader)
        gc.collect()

    async def main() -> None:
        async with adopted() as ((reader, _), _peer):
            with pytest.warns(RuntimeWarning, match=rf"'StreamReader\.{name}' was never awaited"):
                forget(reader)

    loop.run_until_complete(main())


def test_a_read_can_be_awaited_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"a\nb\n")
            call = reader.readline()
            assert await call == b"a\n"
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await call
            assert await reader.readline() == b"b\n"

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [1, 5, 1000, 100_000, 300_000])
def test_messages_of_any_size_come_whole(loop: asyncio.AbstractEventLoop, size: int) -> None:
    async def main() -> None:
        async with adopted(1 << 20) as ((reader, writer), peer):
            message = bytes(range(1, 10)) * (size // 9 + 1)
            message = message[: size - 1] + b"\n"
            for _ in range(4):
                sending = loop.run_in_executor(None, peer.sendall, message * 3)
                received = await reader.read(size)
                received += await reader.readexactly(size - len(received))
                assert received == message
                assert await reader.readline() == await reader.readuntil(b"\n")
                await sending
                writer.write(message)
                echo = loop.create_task(read_exactly(peer, size))
                await writer.drain()
                assert await echo == message

    loop.run_until_complete(main())


def test_cancelling_at_any_moment_loses_no_byte(loop: asyncio.AbstractEventLoop) -> None:
    """In some rounds the bytes have arrived, and the read has not returned them yet."""

    async def main() -> None:
        reads: list[Callable[[asyncio.StreamReader], Any]] = [
            lambda reader: reader.read(3),
            lambda reader: reader.readexactly(3),
            lambda reader: reader.readuntil(b"."),
        ]
        async with adopted() as ((reader, _), peer):
            received = b""
            for number in range(200):
                reading = loop.create_task(reads[number % 3](reader))
                peer.sendall(b"%02d." % (number % 100))
                await turns(number % 5)
                reading.cancel()
                await asyncio.wait([reading])
                if not reading.cancelled():
                    received += reading.result()
            received += await reader.readexactly(600 - len(received))
            assert received == b"".join(b"%02d." % (number % 100) for number in range(200))

    loop.run_until_complete(main())


def test_a_timeout_around_each_read(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, _), peer):
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.001)
                assert vars(reader)["_waiter"] is None
                peer.sendall(b"x")
                assert await asyncio.wait_for(reader.read(1), 30) == b"x"

    loop.run_until_complete(main())


def test_code_that_looks_at_the_buffer_sees_one_bytearray(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            reading = loop.create_task(reader.read(100))
            await turns(2)
            peer.sendall(b"one")
            assert await reading == b"one"
            await arrive(writer, peer, b"two")
            seen: Any = reader
            buffer = seen._buffer
            assert buffer == bytearray(b"two")
            assert seen._buffer is buffer
            await arrive(writer, peer, b"three")
            assert seen._buffer is buffer
            assert buffer == bytearray(b"twothree")
            buffer += b"four"
            assert await reader.read(100) == b"twothreefour"
            assert buffer == b""
            seen._buffer = bytearray(b"five")
            assert await reader.readexactly(4) == b"five"
            del seen._buffer
            assert not hasattr(reader, "_buffer")
            with pytest.raises(AttributeError, match="_buffer"):
                await reader.read(1)
            seen._buffer = bytearray()

    loop.run_until_complete(main())


def test_a_pinned_buffer_raises_and_keeps_its_bytes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"first\n")
            seen: Any = reader
            pinned: Any = memoryview(seen._buffer)
            with pinned:
                for read in READS.values():
                    with pytest.raises(BufferError):
                        await read(seen)
            assert await reader.readline() == b"first\n"

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline"])
def test_a_method_replaced_on_the_class_is_called(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            calls: list[str] = []
            original = getattr(asyncio.StreamReader, name)

            async def patched(self: Any, *arguments: Any) -> Any:  # noqa: ANN401 - as the original
                calls.append(name)
                return await original(self, *arguments)

            with monkeypatch.context() as patch:
                patch.setattr(asyncio.StreamReader, name, patched)
                await arrive(writer, peer, b"a\n")
                assert await READS[name](reader) == b"a\n"
                assert calls == [name]
                if name == "readuntil":
                    await arrive(writer, peer, b"b\n")
                    assert await reader.readline() == b"b\n"
                    assert calls == [name] * 2
                calls.clear()
            await arrive(writer, peer, b"c\n")
            assert await READS[name](reader) == b"c\n"
            assert not calls

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["readuntil", "_wait_for_data", "_maybe_resume_transport"])
def test_a_method_set_on_the_object_is_called_by_the_others(
    loop: asyncio.AbstractEventLoop, name: str
) -> None:
    async def main() -> None:
        async with adopted() as ((reader, _), peer):
            calls: list[str] = []
            original = getattr(reader, name)

            def noting(*arguments: Any) -> Any:  # noqa: ANN401 - as the original
                calls.append(name)
                return original(*arguments)

            setattr(reader, name, noting)
            loop.call_soon(peer.sendall, b"a\n")
            assert await reader.readline() == b"a\n"
            assert calls == [name]

    loop.run_until_complete(main())


def test_writing_goes_through_what_the_program_replaced(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with adopted() as ((_, writer), peer):
            written: list[bytes] = []
            transport: Any = writer.transport
            transport.write = written.append
            writer.write(b"to the list")
            assert written == [b"to the list"]
            del transport.write

            def write(_: object, data: bytes) -> None:
                written.append(data)

            with monkeypatch.context() as patch:
                patch.setattr(asyncio.StreamWriter, "write", write)
                writer.write(b"to the list, too")
            assert written == [b"to the list", b"to the list, too"]
            writer.write(b"to the peer")
            writer.writelines([b", ", b"too"])
            await writer.drain()
            assert peer.recv(100) == b"to the peer, too"

    loop.run_until_complete(main())


@pytest.mark.parametrize("attribute", ["is_closing", "_drain_helper", "exception"])
def test_draining_goes_through_what_the_program_replaced(
    loop: asyncio.AbstractEventLoop, attribute: str
) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), _):
            owners: dict[str, Any] = {
                "is_closing": writer.transport,
                "_drain_helper": vars(writer)["_protocol"],
                "exception": reader,
            }
            calls: list[str] = []
            owner = owners[attribute]
            original = getattr(owner, attribute)

            def noting() -> Any:  # noqa: ANN401 - as the original
                calls.append(attribute)
                return original()

            setattr(owner, attribute, noting)
            await writer.drain()
            assert calls == [attribute]
            delattr(owner, attribute)
            await writer.drain()
            assert calls == [attribute]

    loop.run_until_complete(main())


def test_draining_waits_while_the_protocol_is_paused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((_, writer), _peer):
            protocol: Any = vars(writer)["_protocol"]
            protocol.pause_writing()
            waiting = [loop.create_task(writer.drain()) for _ in range(3)]
            await turns(3)
            assert not any(task.done() for task in waiting)
            waiting[1].cancel()
            await turns(3)
            assert [task.done() for task in waiting] == [False, True, False]
            protocol.resume_writing()
            await asyncio.wait(waiting)
            assert [task.cancelled() for task in waiting] == [False, True, False]
            assert not protocol._drain_waiters

    loop.run_until_complete(main())


def test_draining_raises_what_ended_the_reader(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), _):
            reader.set_exception(ValueError("told to fail"))
            for call in (writer.drain, reader.readline, lambda: reader.read(1)):
                with pytest.raises(ValueError, match="told to fail"):
                    await call()

    loop.run_until_complete(main())


def test_draining_a_closed_stream_yields_to_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((_, writer), _peer):
            writer.close()
            order: list[str] = []

            async def drain_often() -> None:
                for _ in range(5):
                    await writer.drain()
                    order.append("drained")

            loop.call_soon(order.append, "turn")
            with pytest.raises(ConnectionResetError, match="Connection lost"):
                await drain_often()
            assert order[0] == "turn"

    loop.run_until_complete(main())


def test_wrong_arguments_are_refused_as_by_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"something")
            calls: list[tuple[Any, str, tuple[Any, ...], dict[str, Any]]] = [
                (reader, "read", (1, 2), {}),
                (reader, "read", (), {"m": 1}),
                (reader, "readexactly", (), {}),
                (reader, "readline", (1,), {}),
                (reader, "readuntil", (b"a", b"b"), {}),
                (writer, "write", (), {}),
                (writer, "write", ("text",), {}),
                (writer, "writelines", (1, 2), {}),
                (writer, "drain", (1,), {}),
            ]
            for owner, name, arguments, keywords in calls:
                with pytest.raises(TypeError) as found:
                    getattr(owner, name)(*arguments, **keywords)
                base = type(owner).__mro__[-2]
                with pytest.raises(TypeError) as expected:
                    getattr(base, name)(owner, *arguments, **keywords)
                assert str(found.value) == str(expected.value)
            for call in (
                reader.readexactly(-1),
                reader.readuntil(b""),
                reader.readuntil("text"),  # type: ignore[arg-type]
                reader.read("text"),  # type: ignore[arg-type]
            ):
                with pytest.raises((TypeError, ValueError)):
                    await call
            assert await reader.readexactly(0) == await reader.read(0) == b""

    loop.run_until_complete(main())


def test_arguments_by_name(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            writer.write(data=b"a\nb;")
            writer.writelines(data=[b"c", b"d"])
            peer.sendall(await read_exactly(peer, 6))
            assert await reader.readuntil(separator=b"\n") == b"a\n"
            assert await reader.readuntil(separator=b";") == b"b;"
            assert await reader.readexactly(n=1) == b"c"
            assert await reader.read(n=5) == b"d"

    loop.run_until_complete(main())


def test_debug_mode_switched_on_later_takes_asyncios_methods(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            loop.set_debug(True)
            await arrive(writer, peer, b"a\n")
            for call in (reader.readline(), writer.drain()):
                assert inspect.iscoroutine(call)
                assert await call in (b"a\n", None)
            loop.set_debug(False)

    loop.run_until_complete(main())


def test_nothing_is_adopted_in_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        loop.set_debug(True)
        async with adopted() as ((reader, writer), _):
            assert not is_adopted(reader)
            assert not is_adopted(writer)
        loop.set_debug(False)

    loop.run_until_complete(main())


def test_streams_and_calls_are_freed(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[weakref.ref[Any]]:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"a")
            call = reader.read(1)
            assert await call == b"a"
            waiting = loop.create_task(reader.read(1))
            await turns(2)
            waiting.cancel()
            await asyncio.wait([waiting])
            return [weakref.ref(it) for it in (reader, writer, call, writer.transport)]

    references = loop.run_until_complete(main())
    loop.run_until_complete(turns(3))
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


def test_a_cycle_through_a_waiting_read_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, _), peer):
            call: Any = reader.read(1)
            future = call.send(None)
            future.call = call
            reference = weakref.ref(future)
            del call, future
            vars(reader)["_waiter"] = None
            gc.collect()
            assert reference() is None
            peer.sendall(b"a")
            assert await reader.read(1) == b"a"

    loop.run_until_complete(main())


def test_finished_calls_keep_no_references(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with adopted() as ((reader, writer), peer):
            await arrive(writer, peer, b"a\n" * 100)
            before = sys.getrefcount(reader), sys.getrefcount(writer)
            for _ in range(100):
                await reader.readline()
                await writer.drain()
            assert (sys.getrefcount(reader), sys.getrefcount(writer)) == before
            assert await peek(reader) == b""

    loop.run_until_complete(main())
