"""Numbers that are only compared, added or passed on may have any type that Python accepts."""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
import os
import socket
import ssl
import sysconfig
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.hostile.waiting import until
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

# asyncio leaves sockets whose listen() failed to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: Any object that serves as a number.
Number: TypeAlias = Any

NAN = float("nan")
LOCALHOST = ("127.0.0.1", 0)
PATIENCE_S = 30.0


class Whole(int):
    """An integer of another class."""


class Indexed:
    """An object with only `__index__`."""

    def __index__(self) -> int:
        """Returns the index."""
        return 5


class Floating:
    """An object with only `__float__`."""

    def __float__(self) -> float:
        """Returns the number."""
        return 0.0


class Scalar:
    """Adds and compares like the scalars of numpy, without a base class of Python's."""

    def __init__(self, value: float) -> None:
        """Stores `value`."""
        self.value = value

    def _of(self, other: Number) -> float:
        return other.value if isinstance(other, Scalar) else other

    def __repr__(self) -> str:
        """Returns a representation."""
        return f"Scalar({self.value})"

    def __float__(self) -> float:
        """Returns the number."""
        return float(self.value)

    def __radd__(self, other: Number) -> Scalar:
        """Adds."""
        return Scalar(self._of(other) + self.value)

    def __sub__(self, other: Number) -> Scalar:
        """Subtracts."""
        return Scalar(self.value - self._of(other))

    def __mul__(self, other: Number) -> Scalar:
        """Multiplies."""
        return Scalar(self.value * self._of(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: Number) -> Scalar:
        """Divides."""
        return Scalar(self.value // self._of(other))

    def __lt__(self, other: Number) -> bool:
        """Compares."""
        return self.value < self._of(other)

    def __le__(self, other: Number) -> bool:
        """Compares."""
        return self.value <= self._of(other)

    def __gt__(self, other: Number) -> bool:
        """Compares."""
        return self.value > self._of(other)

    def __ge__(self, other: Number) -> bool:
        """Compares."""
        return self.value >= self._of(other)


def named(number: object) -> str:
    """Returns a text that distinguishes a `5` from another class's `5`."""
    return f"{type(number).__name__} {number!r:.20}"


LIMITS: list[Any] = [
    5,
    5.0,
    1e6,
    math.inf,
    NAN,
    2**64,
    2**63 - 1,
    10**400,
    True,
    Whole(5),
    Decimal(5),
    Decimal("Infinity"),
    Fraction(11, 2),
    Scalar(5),
]


def skip_not_a_number(loop_name: str, number: Number) -> None:
    """Skips the test on asyncio if the number is NaN."""
    if loop_name == "asyncio" and number != number:
        pytest.skip("asyncio passes it to the selector, which refuses it on some versions")


#: Limits that asyncio's check refuses or cannot multiply, and that are set in private attributes.
ODD_LIMITS: list[Any] = [-1, -1e6, 0, None, "5", Indexed()]


async def told(factory: Callable[[], asyncio.BaseProtocol], kind: str, data: bytes) -> None:
    """Makes a protocol receive `data` and EOF over a transport of that kind."""
    loop = asyncio.get_running_loop()
    if kind == "socket":
        ours, peer = socket.socketpair()
        await loop.create_connection(factory, sock=ours)
        peer.sendall(data)
        peer.close()
    elif kind == "pipe":
        theirs, end = os.pipe()
        await loop.connect_read_pipe(factory, os.fdopen(theirs, "rb", 0))
        os.write(end, data)
        os.close(end)
    else:
        server = await loop.create_server(factory, *LOCALHOST, ssl=server_context())
        _, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname=NAME
        )
        writer.write(data)
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        server.close()


@pytest.mark.parametrize("kind", ["socket", "pipe", "tls"])
def test_a_reader_has_any_limit(loop: asyncio.AbstractEventLoop, kind: str) -> None:
    async def read_with(limit: Number) -> bytes:
        reader = asyncio.StreamReader(limit=limit)
        await told(lambda: asyncio.StreamReaderProtocol(reader), kind, b"0123456789abcdef")
        line = await reader.readexactly(16)
        transport: Any = getattr(reader, "_transport")  # noqa: B009
        transport.close()
        await until(lambda: reader.at_eof() or kind != "tls")
        for _ in range(20):
            await asyncio.sleep(0)
        return line

    for limit in LIMITS:
        waiting = asyncio.wait_for(read_with(limit), PATIENCE_S)
        assert loop.run_until_complete(waiting) == b"0123456789abcdef", limit


@pytest.mark.parametrize("kind", ["socket", "pipe"])
@pytest.mark.parametrize("limit", ODD_LIMITS, ids=named)
def test_a_limit_that_is_none_does_what_it_does_on_asyncio(
    loop: asyncio.AbstractEventLoop,
    loop_name: str,
    reported: list[dict[str, Any]],
    kind: str,
    limit: Number,
) -> None:
    if loop_name == "asyncio" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("without a GIL, the collector also reports the future with the exception")

    async def main() -> object:
        reader: Any = asyncio.StreamReader()
        reader._limit = limit
        await told(lambda: asyncio.StreamReaderProtocol(reader), kind, b"0123456789")
        await until(lambda: reader._paused or reported)
        if reported:
            return None
        transport = reader._transport
        reading: bool = transport.is_reading()
        transport.close()
        return reading

    reading = loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    if isinstance(limit, (int, float)):
        assert reading is False
    else:
        assert [type(it["exception"]) for it in reported] == [TypeError]
        reported.clear()


MARKS: list[dict[str, Any]] = [
    {},
    {"high": 1e6},
    {"high": math.inf},
    {"high": math.inf, "low": 0},
    {"high": math.inf, "low": math.inf},
    {"high": NAN},
    {"high": 5, "low": NAN},
    {"high": 2**64},
    {"high": 2**63 - 1, "low": 0},
    {"low": 2**62},
    {"low": 10**400},
    {"high": 10**400},
    {"high": 10.5, "low": 2.5},
    {"high": True},
    {"low": False},
    {"high": False},
    {"high": -1},
    {"high": 5, "low": -1},
    {"high": 5, "low": 6},
    {"high": 0},
    {"low": -0.5},
    {"high": Whole(5)},
    {"high": Decimal("2.5")},
    {"high": Fraction(7, 2), "low": 1},
    {"high": Scalar(5)},
    {"high": Indexed()},
    {"high": Floating()},
    {"high": "5"},
    {"high": "5", "low": "4"},
    {"high": 5, "low": [1]},
    {"high": 1j},
]

SETTERS = ["set_write_buffer_limits", "set_read_buffer_limits"]


async def answers(transport: object, setter: str) -> list[object]:
    """Returns the results of setting all those limits."""
    found: list[object] = []
    for marks in MARKS:
        try:
            getattr(transport, setter)(**marks)
        except Exception as error:
            found.append((type(error), str(error)))
        else:
            limits: tuple[object, ...] = getattr(transport, setter.replace("set", "get"))()
            found.append([(type(limit), repr(limit)) for limit in limits])
    return found


async def transports() -> dict[str, Any]:
    """Yields a transport of each kind that has write buffer limits."""
    loop = asyncio.get_running_loop()
    made: dict[str, Any] = {}
    ours, peer = socket.socketpair()
    made["stream"], _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    made["peer"], _ = await loop.create_connection(asyncio.Protocol, sock=peer)
    theirs, end = os.pipe()
    made["read pipe"], _ = await loop.connect_read_pipe(
        asyncio.Protocol, os.fdopen(theirs, "rb", 0)
    )
    made["pipe"], _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(end, "wb", 0))
    made["datagrams"], _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=LOCALHOST
    )
    return made


async def tls_transport(server: asyncio.Server) -> Number:
    """Connects a TLS client to a server."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(
        asyncio.Protocol,
        *server.sockets[0].getsockname(),
        ssl=client_context(),
        server_hostname=NAME,
    )
    return transport


async def all_answers() -> dict[str, list[object]]:
    """Returns the results of every kind of transport."""
    loop = asyncio.get_running_loop()
    made = await transports()
    server = await loop.create_server(asyncio.Protocol, *LOCALHOST, ssl=server_context())
    made["tls"] = await tls_transport(server)
    found = {
        kind: await answers(made[kind], SETTERS[0])
        for kind in ("stream", "pipe", "datagrams", "tls")
    }
    found["tls reading"] = await answers(made["tls"], SETTERS[1])
    for transport in made.values():
        transport.close()
    server.close()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    for _ in range(100):
        await asyncio.sleep(0)
    return found


def test_water_marks_are_taken_and_refused_as_on_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    expected = asyncio.new_event_loop()
    wanted = expected.run_until_complete(all_answers())
    expected.close()
    found = loop.run_until_complete(all_answers())
    for kind, answer in found.items():
        for marks, ours, theirs in zip(MARKS, answer, wanted[kind], strict=True):
            assert ours == theirs, (kind, marks)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("high", [10_000.5, Scalar(10_000)], ids=named)
def test_a_mark_of_any_kind_pauses_and_resumes(
    loop: asyncio.AbstractEventLoop, tls: bool, high: Number
) -> None:
    told: list[str] = []

    class Writing(asyncio.Protocol):
        def pause_writing(self) -> None:
            told.append("pause")

        def resume_writing(self) -> None:
            told.append("resume")

    async def main() -> None:
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        connected = loop.create_future()

        def reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set_result((reader, writer))

        server = await asyncio.start_server(
            reads, *LOCALHOST, ssl=server_context() if tls else None, limit=1
        )
        transport, _ = await loop.create_connection(
            Writing,
            *server.sockets[0].getsockname(),
            ssl=client_context() if tls else None,
            server_hostname=NAME if tls else None,
        )
        reader, writer = await connected
        transport.set_write_buffer_limits(high=high, low=high // 2)
        size = 0
        while not told:
            transport.write(bytes(100_000))
            size += 100_000
            await asyncio.sleep(0)
        await reader.readexactly(size)
        await until(lambda: told[-1] == "resume")
        transport.abort()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        server.close()

    loop.run_until_complete(main())
    assert told == ["pause", "resume"]


@pytest.mark.parametrize(
    "delay",
    [0, 0.0, -1, -math.inf, -(10**300), False, Whole(0), Fraction(0), Scalar(0.0), NAN],
    ids=named,
)
def test_a_delay_that_can_be_added_to_a_time_is_taken(
    loop: asyncio.AbstractEventLoop, loop_name: str, delay: Number
) -> None:
    skip_not_a_number(loop_name, delay)
    loop.call_later(delay, loop.stop)
    loop.run_forever()


def test_a_delay_that_is_no_number_does_not_hold_back_the_others(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    skip_not_a_number(loop_name, NAN)
    order: list[str] = []
    loop.call_later(NAN, order.append, "nan")
    later = loop.call_later(3600, order.append, "later")
    never = loop.call_later(math.inf, order.append, "never")
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert order == ["nan"]
    assert never.when() == math.inf
    for timer in (later, never):
        timer.cancel()


@pytest.mark.parametrize(
    "delay", [10**400, Decimal(1), "1", None, Indexed(), Floating(), [1], b"1"], ids=named
)
def test_a_delay_that_cannot_be_added_is_refused_in_pythons_words(
    loop: asyncio.AbstractEventLoop, delay: Number
) -> None:
    with pytest.raises((TypeError, OverflowError)) as refused:
        loop.call_later(delay, print)
    assert str(refused.value) == refusal(loop.time(), delay)


def refusal(now: float, delay: Number) -> str:
    """Returns Python's message for adding the object; asyncio has its own for None."""
    if delay is None:
        return "delay must not be None"
    with pytest.raises((TypeError, OverflowError)) as added:
        operator.add(now, delay)
    return str(added.value)


@pytest.mark.parametrize("when", [0, -1, True, Whole(1), Fraction(1, 2), -math.inf, NAN], ids=named)
def test_a_deadline_of_any_kind_is_taken(
    loop: asyncio.AbstractEventLoop, loop_name: str, when: Number
) -> None:
    skip_not_a_number(loop_name, when)
    loop.call_at(when, loop.stop)
    loop.run_forever()


def test_a_deadline_that_no_time_can_be_taken_from_is_converted_or_refused(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio accepts the value, but its run ends with TypeError")
    deadlines: list[Number] = [Decimal(1), Floating(), Indexed(), 10**400, "1", [1]]
    for when in deadlines[:3]:
        loop.call_at(when, loop.stop)
        loop.run_forever()
    for when in deadlines[3:]:
        with pytest.raises((TypeError, OverflowError)):
            loop.call_at(when, loop.stop)


@pytest.mark.parametrize("backlog", [-1, 0, 1, True, Whole(3), Indexed(), 2**31 - 1], ids=named)
def test_a_server_has_any_backlog_that_a_socket_takes(
    loop: asyncio.AbstractEventLoop, loop_name: str, backlog: Number
) -> None:
    if loop_name == "asyncio" and isinstance(backlog, int) and backlog < 1:
        pytest.skip("asyncio accepts the value, but then no connections")
    if loop_name == "asyncio" and isinstance(backlog, Indexed):
        pytest.skip("asyncio of 3.14 adds one to it")

    async def main() -> None:
        for context in (None, server_context()):
            server = await asyncio.start_server(
                lambda _, writer: writer.close(), *LOCALHOST, backlog=backlog, ssl=context
            )
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(),
                ssl=None if context is None else client_context(),
                server_hostname=None if context is None else NAME,
            )
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()
        for _ in range(10):
            await asyncio.sleep(0)

    loop.run_until_complete(main())


@pytest.mark.parametrize("backlog", [1.5, "1", None, 2**31, -(2**31) - 1], ids=named)
def test_a_backlog_that_no_socket_takes_is_refused(
    loop: asyncio.AbstractEventLoop, backlog: Number
) -> None:
    with socket.socket() as plain:
        plain.bind(LOCALHOST)
        with pytest.raises((TypeError, OverflowError)) as refused:
            plain.listen(backlog)
    with pytest.raises(refused.type) as raised:
        loop.run_until_complete(loop.create_server(asyncio.Protocol, *LOCALHOST, backlog=backlog))
    assert str(raised.value) == str(refused.value)


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize(
    "seconds", [30, 30.0, True, Whole(30), Fraction(30), math.inf, Scalar(30)], ids=named
)
def test_a_timeout_of_tls_is_any_number(
    loop: asyncio.AbstractEventLoop, name: str, seconds: Number
) -> None:
    async def main() -> None:
        timeouts: dict[str, Any] = {name: seconds}
        server = await asyncio.start_server(
            lambda _, writer: writer.close(), *LOCALHOST, ssl=server_context(), **timeouts
        )
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(),
            ssl=client_context(),
            server_hostname=NAME,
            **timeouts,
        )
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        for _ in range(10):
            await asyncio.sleep(0)

    loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, -math.inf, False, Fraction(-1)], ids=named)
def test_a_timeout_of_tls_is_positive(
    loop: asyncio.AbstractEventLoop, name: str, seconds: Number
) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        timeouts: dict[str, Any] = {name: seconds}
        with peer, ours, pytest.raises(ValueError, match=f"{name} should be a positive number"):
            await loop.create_connection(
                asyncio.Protocol,
                sock=ours,
                ssl=client_context(),
                server_hostname=NAME,
                **timeouts,
            )

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [-1, 2**63, 1.5, None, "1", Indexed(), True, Whole(3)], ids=named)
def test_sizes_of_the_calls_on_sockets_are_the_sockets_affair(
    loop: asyncio.AbstractEventLoop, size: Number
) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, peer:
            for name in ("recv", "recvfrom"):
                peer.send(b"0123456789")
                ours.setblocking(False)
                wanted: object
                try:
                    wanted = getattr(ours, name)(size)
                except Exception as error:
                    wanted = type(error), str(error)
                    ours.recv(100)
                peer.send(b"0123456789")
                call: Callable[..., Any] = getattr(loop, f"sock_{name}")
                found: object
                try:
                    found = await call(ours, size)
                except Exception as error:
                    found = type(error), str(error)
                    ours.recv(100)
                assert found == wanted

    loop.run_until_complete(main())


def test_flags_of_a_name_look_up_may_be_numbers_by_their_index(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Numeric:
        def __index__(self) -> int:
            return socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

    flags: Any = Numeric()
    found = loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), flags))
    assert found == ("127.0.0.1", "80")
