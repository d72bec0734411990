"""How long an event may wait for the work of others, counted in passes.

A pass runs the callbacks that were ready when it began. A `call_soon` chain counts passes: each
link runs in the pass after the one that scheduled it.

docs/design/0023-who-waits-for-whom.md has the bounds.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Pair = tuple[socket.socket, socket.socket]

LOCALHOST = "127.0.0.1"

#: Passes that a message or a due timer may have to wait: the next one serves it.
PASSES = 1

#: Pieces that a connection may deliver in one pass. asyncio's delivers one.
PIECES = 8

#: Messages whose wait is measured in each test.
ROUNDS = 20

READY_CALLBACKS = 300_000

#: Watched descriptors that a pass serves; the others follow in the next ones.
WATCHED = 64
READERS = 3 * WATCHED

#: Ready connections that the reactor reports in one pass; the others follow in the next ones.
EVENTS = 1024
READY_CONNECTIONS = 3 * EVENTS


class Passes:
    """Counts passes, and measures how many an event needs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rounds: int = ROUNDS) -> None:
        """Start at zero."""
        self.loop = loop
        self.rounds = rounds
        self.number = 0
        self.provoke: list[Callable[[], object]] = []
        self.missing: dict[str, int] = {}
        self.waited: dict[str, list[int]] = {}
        self.called = 0
        #: How often something else was called before each event.
        self.called_before: list[int] = []

    def run(self, *events: str) -> None:
        """Provokes the events and runs until each has arrived, several times."""
        for _ in range(self.rounds):
            self.missing = dict.fromkeys(events, self.number)
            self.loop.call_soon(self._begin)
            self.loop.run_forever()

    def arrive(self, event: str) -> None:
        """Records that the event was served."""
        began = self.missing.pop(event)
        self.waited.setdefault(event, []).append(self.number - began)
        self.called_before.append(self.called)

    def _begin(self) -> None:
        self.missing = dict.fromkeys(self.missing, self.number)
        for provoke in self.provoke:
            provoke()
        self.loop.call_soon(self._next)

    def _next(self) -> None:
        self.number += 1
        if self.missing:
            self.loop.call_soon(self._next)
        else:
            self.loop.stop()


class Quiet(asyncio.Protocol):
    """A connection whose messages are awaited."""

    def __init__(self, passes: Passes) -> None:
        """Take the counter."""
        self.passes = passes

    def data_received(self, data: bytes) -> None:
        """The message has arrived."""
        assert data == b"x"
        self.passes.arrive("message")


class Flooded(asyncio.Protocol):
    """A connection whose peer never stops sending; counts the pieces of each pass."""

    def __init__(self, passes: Passes) -> None:
        """Take the counter."""
        self.passes = passes
        self.pieces: dict[int, int] = {}

    def data_received(self, data: bytes) -> None:
        """A piece has arrived."""
        assert data
        number = self.passes.number
        self.pieces[number] = self.pieces.get(number, 0) + 1


@pytest.fixture
def passes(loop: asyncio.AbstractEventLoop) -> Passes:
    """A counter of the loop's passes."""
    return Passes(loop)


@pytest.fixture
def message(loop: asyncio.AbstractEventLoop, passes: Passes) -> Iterator[None]:
    """Provides a message and a due timer when the count begins.

    A Unix socket, because its bytes have arrived when the call that sends them returns.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = loop.run_until_complete(
            loop.create_connection(lambda: Quiet(passes), sock=ours)
        )
        passes.provoke += [
            lambda: theirs.send(b"x"),
            lambda: loop.call_at(loop.time(), passes.arrive, "timer"),
        ]
        yield
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))


def tcp_pair() -> Pair:
    """Two ends of a TCP connection."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


def fill(sock: socket.socket) -> None:
    """Sends until the kernel accepts no more."""
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        return


@pytest.mark.usefixtures("message")
def test_a_flooded_connection_delays_others_by_one_pass(
    loop: asyncio.AbstractEventLoop, passes: Passes
) -> None:
    ours, theirs = tcp_pair()
    theirs.setblocking(False)
    with theirs:
        transport, protocol = loop.run_until_complete(
            loop.create_connection(lambda: Flooded(passes), sock=ours)
        )
        passes.provoke.insert(0, lambda: fill(theirs))
        passes.run("message", "timer")
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))
    assert max(passes.waited["message"]) <= PASSES
    assert max(passes.waited["timer"]) <= PASSES
    pieces = protocol.pieces
    assert 0 < max(pieces.values()) <= 2 * PIECES  # Before and after the counter of one pass.


@pytest.mark.usefixtures("message")
def test_readers_that_are_always_ready_delay_others_by_one_pass(
    loop: asyncio.AbstractEventLoop, passes: Passes
) -> None:
    """Each is called once in a pass, and a new one in its turn."""
    called: dict[tuple[int, int], int] = {}
    watched, peer = socket.socketpair()

    def call(number: int) -> None:
        key = (number, passes.number)
        called[key] = called.get(key, 0) + 1

    def receive() -> None:
        assert watched.recv(1) == b"z"
        passes.arrive("reader")

    pairs = [socket.socketpair() for _ in range(READERS)]
    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"never read")
        loop.add_reader(ours, call, number)
    loop.add_reader(watched, receive)
    passes.provoke.append(lambda: peer.send(b"z"))
    passes.run("message", "timer", "reader")
    for ours, theirs in [*pairs, (watched, peer)]:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
    assert max(passes.waited["message"]) <= PASSES
    assert max(passes.waited["timer"]) <= PASSES
    assert max(passes.waited["reader"]) <= READERS // WATCHED + PASSES
    assert {number for number, _ in called} == set(range(READERS))
    assert max(called.values()) <= 2  # Before and after the counter of one pass.


@pytest.mark.slow
@pytest.mark.usefixtures("message")
def test_hundreds_of_thousands_of_ready_callbacks_delay_others_by_one_pass(
    loop: asyncio.AbstractEventLoop, passes: Passes
) -> None:
    """What these schedule comes later, however much that is."""

    def call() -> None:
        passes.called += 1
        if passes.missing:
            loop.call_soon(call)

    def queue() -> None:
        for _ in range(READY_CALLBACKS):
            loop.call_soon(call)

    passes.rounds = 1
    passes.provoke.insert(0, queue)
    passes.run("message", "timer")
    assert max(passes.waited["message"]) <= PASSES
    assert max(passes.waited["timer"]) <= PASSES
    assert max(passes.called_before) <= READY_CALLBACKS


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Allows enough descriptors for the ready connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * READY_CONNECTIONS + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("descriptors", "message")
def test_ready_connections_are_served_in_the_order_of_their_messages(
    loop: asyncio.AbstractEventLoop, passes: Passes
) -> None:
    """A pass serves as many as the reactor reports at once."""
    peers: list[socket.socket] = []
    transports: list[asyncio.Transport] = []

    async def connect() -> None:
        for _ in range(READY_CONNECTIONS):
            ours, theirs = socket.socketpair()
            peers.append(theirs)
            transport, _ = await loop.create_connection(lambda: Flooded(passes), sock=ours)
            transports.append(transport)

    loop.run_until_complete(connect())
    passes.rounds = 2
    passes.provoke.insert(0, lambda: [peer.send(b"y") for peer in peers])
    passes.run("message", "timer")
    for transport in transports:
        transport.close()
    for peer in peers:
        peer.close()
    loop.run_until_complete(asyncio.sleep(0))
    assert max(passes.waited["message"]) <= READY_CONNECTIONS // EVENTS + PASSES
    assert max(passes.waited["timer"]) <= PASSES
