"""`getaddrinfo` and `getnameinfo` return the results of those in `socket`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable


class NoThreads(concurrent.futures.ThreadPoolExecutor):
    """An executor that refuses jobs."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> NoReturn:
        """Fails the test."""
        raise AssertionError("no thread should be needed for this")


def outcome(call: Callable[[], object]) -> tuple[object, ...]:
    """Returns the result of `call`, or the type and arguments of its exception."""
    try:
        return "returned", call()
    except Exception as error:
        return "raised", type(error), error.args


def untyped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function without types, to be called with arguments that they forbid."""
    return function


NUMERIC = socket.AI_NUMERICHOST

#: Host, port and keywords. None of them queries a name server.
ADDRESSES: list[tuple[Any, Any, dict[str, Any]]] = [
    ("127.0.0.1", 80, {}),
    ("127.0.0.1", 0, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 65535, {"type": socket.SOCK_DGRAM}),
    ("127.0.0.1", 80, {"type": socket.SOCK_RAW}),
    ("127.0.0.1", 80, {"type": socket.SOCK_SEQPACKET}),
    ("127.0.0.1", 80, {"proto": socket.IPPROTO_TCP}),
    ("127.0.0.1", 80, {"proto": socket.IPPROTO_UDP}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "proto": 12345}),
    ("127.0.0.1", 80, {"type": 12345}),
    ("127.0.0.1", 80, {"family": socket.AF_INET}),
    ("127.0.0.1", 80, {"family": socket.AF_INET6}),
    ("127.0.0.1", 80, {"family": socket.AF_UNIX}),
    ("127.0.0.1", 80, {"family": 12345}),
    ("127.0.0.1", 80, {"family": socket.AF_INET6, "flags": socket.AI_V4MAPPED}),
    ("127.0.0.1", 80, {"flags": socket.AI_CANONNAME}),
    ("127.0.0.1", 80, {"flags": socket.AI_PASSIVE | NUMERIC}),
    ("127.0.0.1", 80, {"flags": socket.AI_ADDRCONFIG}),
    ("127.0.0.1", 80, {"flags": 0x40000000}),
    ("255.255.255.255", 80, {"type": socket.SOCK_STREAM}),
    ("0.0.0.0", 80, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 80, {"type": int(socket.SOCK_STREAM), "family": int(socket.AF_INET)}),
    # Old notations that the C library reads as IPv4 addresses.
    ("127.1", 80, {"flags": NUMERIC}),
    ("0x7f.0.0.1", 80, {"flags": NUMERIC}),
    ("0177.0.0.1", 80, {"flags": NUMERIC}),
    ("2130706433", 80, {"flags": NUMERIC}),
    ("127.0.0.01", 80, {"flags": NUMERIC}),
    ("256.0.0.1", 80, {"flags": NUMERIC}),
    ("1.2.3.4.5", 80, {"flags": NUMERIC}),
    (" 127.0.0.1", 80, {"flags": NUMERIC}),
    ("127.0.0.1 ", 80, {"flags": NUMERIC}),
    ("127.0.0.1.", 80, {"flags": NUMERIC}),
    ("\uff11\uff12\uff17.0.0.1", 80, {"flags": NUMERIC}),
    ("127.0.0.1\0", 80, {"flags": NUMERIC}),
    ("::1", 80, {}),
    ("::1", 80, {"type": socket.SOCK_STREAM}),
    ("::1", 80, {"family": socket.AF_INET}),
    ("::1", 80, {"flags": socket.AI_CANONNAME}),
    ("::", 80, {"type": socket.SOCK_STREAM}),
    ("::ffff:127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
    ("2001:DB8:0:0::1", 80, {"type": socket.SOCK_STREAM}),
    ("fe80::1%lo", 80, {"type": socket.SOCK_STREAM}),
    ("fe80::1%1", 80, {"type": socket.SOCK_STREAM}),
    ("fe80::1%0", 80, {"type": socket.SOCK_STREAM}),
    ("fe80::1%no-such-interface", 80, {"type": socket.SOCK_STREAM, "flags": NUMERIC}),
    ("::1%lo", 80, {"type": socket.SOCK_STREAM, "flags": NUMERIC}),
    ("2001:db8::1%1", 80, {"type": socket.SOCK_STREAM, "flags": NUMERIC}),
    ("fe80::1%", 80, {"type": socket.SOCK_STREAM, "flags": NUMERIC}),
    ("[::1]", 80, {"flags": NUMERIC}),
    (":::1", 80, {"flags": NUMERIC}),
    ("not-an-address", 80, {"flags": NUMERIC}),
    ("", 80, {"type": socket.SOCK_STREAM}),
    ("", 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
    (b"", 80, {"type": socket.SOCK_STREAM}),
    (None, 80, {"type": socket.SOCK_STREAM}),
    (None, 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
    (None, 80, {"family": socket.AF_INET6, "type": socket.SOCK_STREAM}),
    (None, 80, {"flags": socket.AI_CANONNAME}),
    (None, None, {}),
    ("", None, {}),
    (b"127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
    (b"::1", 80, {"type": socket.SOCK_STREAM}),
    (bytearray(b"127.0.0.1"), 80, {"type": socket.SOCK_STREAM}),
    (b"\xff\xfe", 80, {"flags": NUMERIC}),
    ("\udcff", 80, {"flags": NUMERIC}),
    ("a" * 300, 80, {"flags": NUMERIC}),
    (1, 80, {}),
    (object, 80, {}),
    ("127.0.0.1", None, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "80", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", b"80", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "http", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", b"http", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "http", {}),
    ("127.0.0.1", "http", {"flags": socket.AI_NUMERICSERV}),
    ("127.0.0.1", "no-such-service", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", " 80", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "+80", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "0x50", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "70000", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "-1", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", "8\0", {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 70000, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", -1, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 2**40, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 2**80, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", True, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 80.5, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", [], {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 80, {"type": 2**40}),
    ("127.0.0.1", 80, {"flags": -1}),
    ("127.0.0.1", 80, {"type": 1.0}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "flags": 0.0}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "family": 2.0}),
    ("127.0.0.1", 80, {"type": []}),
    ("::1", 80, {"type": socket.SOCK_DGRAM, "family": socket.AF_INET6}),
    ("::1", 80, {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_TCP}),
    ("::1.2.3.4", 80, {"type": socket.SOCK_STREAM}),
    ("0:0:0:0:0:FFFF:102:304", 80, {"type": socket.SOCK_STREAM}),
    ("::1\0", 80, {"type": socket.SOCK_STREAM}),
]


@pytest.mark.parametrize(
    ("host", "port", "keywords"),
    ADDRESSES,
    ids=[f"{number}-{case[0]!r:.30}-{case[1]!r:.20}" for number, case in enumerate(ADDRESSES)],
)
def test_getaddrinfo_of_a_literal_is_socket_s(
    loop: asyncio.AbstractEventLoop, host: object, port: object, keywords: dict[str, Any]
) -> None:
    synchronous, asynchronous = untyped(socket.getaddrinfo), untyped(loop.getaddrinfo)
    ours = outcome(lambda: loop.run_until_complete(asynchronous(host, port, **keywords)))
    theirs = outcome(lambda: synchronous(host, port, **keywords))
    assert ours == theirs


def test_getaddrinfo_of_a_name_is_socket_s(loop: asyncio.AbstractEventLoop) -> None:
    ours = loop.run_until_complete(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    assert ours == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)


#: Keywords with which `localhost` has addresses, or an error, without a name server.
OF_LOCALHOST: list[tuple[Any, Any, dict[str, Any]]] = [
    ("localhost", 80, {}),
    ("localhost", 0, {"type": socket.SOCK_DGRAM}),
    ("localhost.", 65535, {"type": socket.SOCK_RAW}),
    ("LocalHost", 80, {"proto": socket.IPPROTO_UDP}),
    ("localhost", 80, {"family": socket.AF_INET, "type": socket.SOCK_STREAM}),
    ("localhost", 80, {"family": int(socket.AF_INET), "type": int(socket.SOCK_STREAM)}),
    ("localhost", 80, {"type": True}),
    ("localhost", True, {}),
    ("localhost", 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_ADDRCONFIG}),
    ("localhost", 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_CANONNAME}),
    ("localhost", 80, {"type": socket.SOCK_SEQPACKET}),
    ("localhost", 80, {"type": 12345}),
    ("localhost", 80, {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP}),
    ("localhost", 80, {"family": socket.AF_UNIX}),
    ("localhost", 80, {"family": 12345}),
    ("localhost", 80, {"family": -1}),
    ("localhost", 80, {"family": 2**40}),
    ("localhost", 80, {"type": 1.0}),
    ("localhost", 80, {"flags": 0x40000000}),
    ("localhost", "80", {"type": socket.SOCK_STREAM}),
    ("localhost", "http", {"type": socket.SOCK_STREAM}),
    ("localhost", None, {"type": socket.SOCK_STREAM}),
    ("localhost", 65536, {"type": socket.SOCK_STREAM}),
    ("localhost", -1, {"type": socket.SOCK_STREAM}),
    ("localhost", 2**80, {"type": socket.SOCK_STREAM}),
    (b"localhost", 80, {"type": socket.SOCK_STREAM}),
    ("localhost\0", 80, {}),
    ("local\udcffhost", 80, {}),
    ("localhost..", 80, {}),
    (".localhost", 80, {}),
    ("a" * 64, 80, {}),
    ("a" * 63, 80, {"family": socket.AF_UNIX}),
    ("a" * 64 + ".localhost", 80, {"family": socket.AF_UNIX}),
]


@pytest.mark.parametrize(
    ("host", "port", "keywords"),
    OF_LOCALHOST,
    ids=[f"{number}-{case[0]!r:.30}-{case[1]!r:.20}" for number, case in enumerate(OF_LOCALHOST)],
)
def test_getaddrinfo_of_a_name_answers_as_socket_s(
    loop: asyncio.AbstractEventLoop, host: object, port: object, keywords: dict[str, Any]
) -> None:
    synchronous, asynchronous = untyped(socket.getaddrinfo), untyped(loop.getaddrinfo)
    ours = outcome(lambda: loop.run_until_complete(asynchronous(host, port, **keywords)))
    theirs = outcome(lambda: synchronous(host, port, **keywords))
    assert ours == theirs
    if ours[0] == "returned":
        answers: Any = zip(ours[1], theirs[1], strict=True)  # type: ignore[call-overload]
        for answer, expected in answers:
            assert list(map(type, answer)) == list(map(type, expected))


def test_what_stands_in_for_the_c_function_is_asked(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def stand_in(host: object, *_: object) -> list[object]:
        asked.append(host)
        return []

    monkeypatch.setattr("_socket.getaddrinfo", stand_in)
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 80)) == []
    assert asked == ["localhost"]


def test_a_look_up_is_audited(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[tuple[object, ...]] = []
    refuses = listening = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "socket.getaddrinfo":
            seen.append(arguments)
            if refuses:
                raise ZeroDivisionError

    sys.addaudithook(hook)
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    refuses = False
    loop.run_until_complete(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
    listening = False
    assert seen == [("localhost", 80, 0, socket.SOCK_STREAM, 0)] * 2


def test_create_connection_to_a_name_asks_the_loop(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def getaddrinfo(host: object, port: object, **keywords: object) -> list[object]:
        asked.append((host, port, keywords))
        return []

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    for host in ("localhost", "127.0.0.1"):
        with contextlib.suppress(OSError):
            loop.run_until_complete(loop.create_connection(asyncio.Protocol, host, 1, flags=0))
    keywords = {"family": 0, "type": socket.SOCK_STREAM, "proto": 0, "flags": 0}
    assert asked == [("localhost", 1, keywords)]


def test_the_answer_has_the_types_of_socket_s(loop: asyncio.AbstractEventLoop) -> None:
    for host in ("127.0.0.1", "::1"):
        (entry,) = loop.run_until_complete(loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM))
        assert type(entry) is tuple
        assert type(entry[0]) is socket.AddressFamily
        assert type(entry[1]) is socket.SocketKind
        assert [type(part) for part in entry[2:]] == [int, str, tuple]


def test_what_stands_in_for_socket_s_is_asked(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(*arguments: object) -> list[tuple[object, ...]]:
        return [arguments]

    monkeypatch.setattr(socket, "getaddrinfo", stand_in)
    for host in ("127.0.0.1", "::1", "localhost"):
        answer: list[Any] = loop.run_until_complete(
            loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        )
        assert answer == [(host, 80, 0, socket.SOCK_STREAM, 0, 0)]


def test_wrong_arguments_are_a_type_error(loop: asyncio.AbstractEventLoop) -> None:
    getaddrinfo: Any = loop.getaddrinfo

    async def ask(*arguments: object, **keywords: object) -> object:
        return await getaddrinfo(*arguments, **keywords)

    calls: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((), {}),
        (("127.0.0.1",), {}),
        (("127.0.0.1", 80, socket.AF_INET), {}),
        (("127.0.0.1", 80), {"no_such_argument": 1}),
        (("127.0.0.1", 80), {"family": "inet"}),
    ]
    for arguments, keywords in calls:
        with pytest.raises(TypeError):
            loop.run_until_complete(ask(*arguments, **keywords))


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_literal_needs_no_thread(loop: asyncio.AbstractEventLoop, loop_name: str) -> None:
    """Asyncio uses a thread for literals, too, so this test is for yamanote only."""
    if loop_name == "asyncio":
        pytest.skip("asyncio's loop looks literals up in a thread")

    async def main() -> None:
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("::1", 80, type=socket.SOCK_STREAM)
        # One of another test may end meanwhile.
        assert threads.issuperset(os.listdir("/proc/self/task"))

    threads = set(os.listdir("/proc/self/task"))
    loop.set_default_executor(NoThreads())
    loop.run_until_complete(main())


def test_many_look_ups_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(
            *(
                loop.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
                for port in range(1, 101)
            )
        )

    answers = loop.run_until_complete(main())
    assert [answer[0][4][1] for answer in answers] == list(range(1, 101))


def test_look_ups_can_be_cancelled_and_their_answers_are_dropped(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> list[Any]:
        asking = [loop.create_task(loop.getaddrinfo("localhost", port)) for port in range(20)]
        await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        return await asyncio.gather(*asking, return_exceptions=True)

    # A result from the hosts file may arrive before the cancellation.
    assert {type(result) for result in loop.run_until_complete(main())} <= {
        list,
        asyncio.CancelledError,
    }
    run_one_turn(loop)


def test_a_loop_may_close_during_a_look_up(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(loop.getaddrinfo("localhost", 80))
    run_one_turn(loop)
    task.cancel()
    run_one_turn(loop)
    loop.close()


# --- getnameinfo ------------------------------------------------------------------------------

NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

NAMES: list[tuple[Any, int]] = [
    (("127.0.0.1", 80), NUMBERS),
    (("127.0.0.1", 80), socket.NI_NUMERICHOST),
    (("127.0.0.1", 53), socket.NI_NUMERICHOST | socket.NI_DGRAM),
    (("127.0.0.1", 80), 0),
    (("127.0.0.1", 0), NUMBERS),
    (("::1", 80), NUMBERS),
    (("::1", 80, 0), NUMBERS),
    (("::1", 80, 0, 0), NUMBERS),
    (("fe80::1", 80, 0, 1), NUMBERS),
    (("fe80::1%lo", 80), NUMBERS),
    (("::1", 80, 2**20, 0), NUMBERS),
    (("::1", 80, -1, 0), NUMBERS),
    (("127.0.0.1", 80, 0, 0), NUMBERS),
    (("not-an-address", 80), NUMBERS),
    (("", 80), NUMBERS),
    (("127.0.0.1",), NUMBERS),
    ((), NUMBERS),
    (("127.0.0.1", 80, 0, 0, 0), NUMBERS),
    (("127.0.0.1", "80"), NUMBERS),
    (("127.0.0.1", 70000), NUMBERS),
    (("127.0.0.1", -1), NUMBERS),
    (("127.0.0.1", 2**80), NUMBERS),
    ((b"127.0.0.1", 80), NUMBERS),
    ((None, 80), NUMBERS),
    (["127.0.0.1", 80], NUMBERS),
    ("127.0.0.1", NUMBERS),
    (None, NUMBERS),
    (("127.0.0.1", 80), 2**80),
    (("127.0.0.1", 80), NUMBERS | socket.NI_NAMEREQD),
    (("192.0.2.1", 80), NUMBERS | socket.NI_NAMEREQD),
]


@pytest.mark.parametrize(
    ("address", "flags"),
    NAMES,
    ids=[f"{number}-{case[0]!r:.40}" for number, case in enumerate(NAMES)],
)
def test_getnameinfo_is_socket_s(
    loop: asyncio.AbstractEventLoop, address: object, flags: int
) -> None:
    synchronous, asynchronous = untyped(socket.getnameinfo), untyped(loop.getnameinfo)
    ours = outcome(lambda: loop.run_until_complete(asynchronous(address, flags)))
    theirs = outcome(lambda: synchronous(address, flags))
    assert ours == theirs


def test_getnameinfo_without_flags_looks_names_up(loop: asyncio.AbstractEventLoop) -> None:
    ours = loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80)))
    assert ours == socket.getnameinfo(("127.0.0.1", 80), 0)
