"""Messages for wrong arguments and failures: asyncio's texts, on each interpreter."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.loops import LOOPS
from tests.sock.pairs import turns
from tests.tcp.recorders import Recorder
from tests.tcp.servers import LOCALHOST, port_of
from tests.tls.certificates import NAME, client_context, server_context
from tests.tls.peers import everything_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Anything: TypeAlias = Any  # Loops, transports and arguments of every kind.


class Odd:
    """An object whose `fileno()` returns something or raises."""

    def __init__(self, number: object) -> None:
        """Stores what `fileno()` returns or raises."""
        self._number = number

    def __repr__(self) -> str:
        """Returns the same text for both loops."""
        return f"Odd({self._number!r})"

    def fileno(self) -> object:
        """Returns or raises what was stored."""
        if isinstance(self._number, type):
            raise self._number("no number")
        return self._number


class Integer(int):
    """An integer of another class."""


NUMBERS: list[Any] = [
    *(-1, -2, -(2**31), -(2**31) - 1, -(2**70)),
    *(2**31 - 1, 2**31, 2**32, 2**63, 2**64, 2**70),
    *(Integer(9999), Integer(-5), 3.0, None, "3", b"3", [], object),
    *(Odd(number) for number in (-1, 2**31, 2**70, None, "x")),
    *(Odd(error) for error in (ValueError, TypeError, AttributeError, OSError, RuntimeError)),
]


def told(call: Callable[[], object]) -> str:
    """Returns what a call returns, raises and warns about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = repr(call())
        except Exception as error:  # Whatever it is, it is compared.
            outcome = f"{type(error).__name__}: {error}"
    return "; ".join([outcome, *(f"{each.category.__name__}: {each.message}" for each in caught)])


@pytest.fixture
def both() -> Iterator[list[Any]]:
    """Runs on asyncio's loop and ours."""
    loops = [factory() for factory in LOOPS.values()]
    yield loops
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("method", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_a_wrong_descriptor_is_refused_in_asyncios_words(
    both: list[Anything], method: str, number: Anything
) -> None:
    arguments = (print,) if method.startswith("add") else ()
    asyncios, ours = (told(partial(getattr(loop, method), number, *arguments)) for loop in both)
    assert ours == asyncios


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
@pytest.mark.parametrize("number", [True, False])
def test_a_bool_is_a_descriptor_with_a_warning_where_the_interpreter_has_one(
    both: list[Any], method: str, number: bool
) -> None:
    """Python 3.13 and later warn, in asyncio's selector."""
    asyncios, ours = (told(partial(getattr(loop, method), number, print)) for loop in both)
    for loop in both:
        getattr(loop, method.replace("add", "remove"))(number)
    assert ours == asyncios
    assert ("RuntimeWarning: bool is used as a file descriptor" in ours) is (
        sys.version_info >= (3, 13)
    )


LINES: list[Any] = [
    *(None, 5, b"ab", bytearray(b"ab"), "ab", "", memoryview(b"ab"), [], ()),
    *([None], ["a"], [b"a", None], [b"a", "b"], [5], [[b"x"]], {b"k": 1}, object),
    *([memoryview(b"q")], [bytearray(b"q"), b"r"], [b"", b""]),
]


def ignore(*_: object) -> None:
    """An exception handler that ignores everything."""


def answers(factory: Anything, connect: Anything, cases: list[Anything]) -> list[str]:
    """Returns the results of `writelines` for each case, each on a new transport."""
    loop = factory()

    async def main() -> list[str]:
        found: list[str] = []
        for case in cases:
            transport, close = await connect()
            found.append(told(partial(transport.writelines, case)))
            transport.abort()
            await turns(4)
            close()
        return found

    try:
        loop.set_exception_handler(ignore)
        result: list[str] = loop.run_until_complete(main())
        return result
    finally:
        loop.close()


async def stream() -> tuple[Any, Callable[[], None]]:
    """A transport over a socket."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    return transport, theirs.close


async def ended() -> tuple[Any, Callable[[], None]]:
    """A transport after `write_eof()`."""
    transport, close = await stream()
    transport.write_eof()
    return transport, close


async def pipe() -> tuple[Any, Callable[[], None]]:
    """A transport over a pipe."""
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
    return transport, lambda: os.close(reading)


@pytest.mark.parametrize("connect", [stream, ended, pipe])
def test_writelines_refuses_in_asyncios_words(connect: Anything) -> None:
    asyncios, ours = (answers(factory, connect, LINES) for factory in LOOPS.values())
    answered = zip(map(repr, LINES), ours, asyncios, strict=True)
    different = [(case, mine, its) for case, mine, its in answered if mine != its]
    if sys.version_info >= (3, 14):
        # Later releases of 3.14 omit false items; ours does so on all versions.
        different = [each for each in different if "NoneType" not in each[2]]
    assert different == []


def test_writelines_over_tls_refuses_in_asyncios_words() -> None:
    cases: list[Any] = [None, 5, "ab", [None], ["a"], [b"a", "b"], [5], []]

    def found(factory: Anything) -> list[str]:
        loop = factory()

        async def main() -> list[str]:
            server = await loop.create_server(asyncio.Protocol, LOCALHOST, 0, ssl=server_context())
            found: list[str] = []
            for case in cases:
                transport, _ = await loop.create_connection(
                    asyncio.Protocol,
                    LOCALHOST,
                    port_of(server),
                    ssl=client_context(),
                    server_hostname=NAME,
                )
                found.append(told(partial(transport.writelines, case)))
                transport.abort()
            await turns(10)
            server.close()
            await everything_ends()
            return found

        try:
            loop.set_exception_handler(ignore)
            result: list[str] = loop.run_until_complete(main())
            return result
        finally:
            loop.close()

    asyncios, ours = map(found, LOOPS.values())
    assert ours == asyncios


class Filling(asyncio.BufferedProtocol):
    """A protocol with a buffer."""

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns a buffer."""
        return bytearray(max(sizehint, 10))


def test_debug_mode_logs_the_end_of_a_stream_and_the_pauses(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        for factory in (Recorder, Filling):
            ours, theirs = socket.socketpair()
            with theirs:
                transport, _ = await loop.create_connection(factory, sock=ours)
                transport.pause_reading()
                transport.resume_reading()
                theirs.shutdown(socket.SHUT_WR)
                while not transport.is_closing():
                    await turns(1)
            said = [record.msg for record in caplog.records if record.args == (transport,)]
            assert said == ["%r pauses reading", "%r resumes reading", "%r received EOF"]
            caplog.clear()

    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        loop.run_until_complete(main())


def test_debug_mode_logs_the_end_of_a_stream_reader(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            theirs.shutdown(socket.SHUT_WR)
            assert await reader.read() == b""
            said = [each.msg for each in caplog.records if each.args == (writer.transport,)]
            assert said == ["%r received EOF"]
            writer.close()
            await writer.wait_closed()

    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        loop.run_until_complete(main())


class Told(asyncio.DatagramProtocol):
    """Stores the errors that it gets."""

    def __init__(self) -> None:
        """Start without errors."""
        self.errors: list[BaseException | None] = []

    def error_received(self, exc: Exception) -> None:
        """Stores the error."""
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stores the last error."""
        self.errors.append(exc)


def test_a_fatal_write_is_reported_with_a_traceback(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        whole: Any = loop
        endpoint, protocol = await whole.create_datagram_endpoint(Told, local_addr=(LOCALHOST, 0))
        endpoint.sendto(b"x", (LOCALHOST, "no port"))
        await turns()
        ours, theirs = socket.socketpair()
        with theirs:
            stream, recorder = await loop.create_connection(Recorder, sock=ours)
            stream.write(memoryview(b"abcd")[::2])
            await turns()
        assert protocol.errors == [reported[0]["exception"]]
        assert recorder.lost_with is reported[1]["exception"]

    loop.run_until_complete(main())
    assert [report["message"] for report in reported] == [
        "Fatal write error on datagram transport",
        "Fatal write error on socket transport",
    ]
    assert all(report["exception"].__traceback__ is not None for report in reported)
    reported.clear()


def test_the_networks_errors_have_a_traceback(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        whole: Any = loop
        endpoint, protocol = await whole.create_datagram_endpoint(Told, local_addr=(LOCALHOST, 0))
        endpoint.sendto(bytes(100_000), (LOCALHOST, 9))
        await turns()
        (error,) = protocol.errors
        assert isinstance(error, OSError)
        assert error.__traceback__ is not None
        endpoint.close()
        ours, theirs = socket.socketpair()
        transport, recorder = await loop.create_connection(Recorder, sock=ours)
        transport.pause_reading()
        theirs.close()
        transport.write(b"x")
        await recorder.until_lost()
        assert isinstance(recorder.lost_with, BrokenPipeError)
        assert recorder.lost_with.__traceback__ is not None

    loop.run_until_complete(main())
