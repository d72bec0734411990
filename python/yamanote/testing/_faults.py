"""Reads, writes and connections as they go on a bad day."""

from __future__ import annotations

import errno
import math
import socket
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import index
from random import Random
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from yamanote._loop import Loop

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Self

#: What is late comes after so many seconds at least.
SHORTEST_DELAY_S: Final = 0.001
#: After so long, Linux gives up a connection that nothing answers (`net.ipv4.tcp_syn_retries = 6`).
LONGEST_CONNECT_S: Final = 127.0
#: A reset comes instead of one of so many first reads, or of so many first writes.
FIRST_TRANSFERS: Final = 16
#: So many lines of `Faults.log` are kept.
LONGEST_LOG: Final = 1000

#: The answers to `_transfer`, besides a number of bytes.
LATE: Final = 0
RESET: Final = -1
#: Its events, as `_fire` takes them: for reading and for writing.
EVENTS: Final = (1, 2)


@dataclass(frozen=True)
class FaultCounts:
    """How many faults there were.

    Attributes:
        pieces: reads and writes that ended before all was read or written.
        late: reads, writes and connections that came late.
        resets: transports whose connection was reset.
        connects: connections that were refused or not answered.
        accepts: calls of `accept()` that failed.
    """

    pieces: int = 0
    late: int = 0
    resets: int = 0
    connects: int = 0
    accepts: int = 0


class Faults:
    """What `faults()` returns: a context manager, which counts the faults it causes."""

    def __init__(self, loop: Loop, seed: int, rates: dict[str, float], delay: float) -> None:
        """See `faults()`."""
        self._loop, self._seed = loop, seed
        self._rates, self._delay = rates, delay
        self._counts = FaultCounts()
        self._log: deque[str] = deque(maxlen=LONGEST_LOG)
        self._was_used = False
        self._lines: WeakKeyDictionary[asyncio.BaseTransport, _Line] = WeakKeyDictionary()
        self._listeners: WeakKeyDictionary[socket.socket, Random] = WeakKeyDictionary()
        #: Listening sockets on which accept() has failed, and which have not tried again.
        self._failed: WeakSet[socket.socket] = WeakSet()
        self._made = 0
        self._listened = 0
        self._connected = 0
        #: Futures of connections that wait; their result is whether the fault comes true.
        self._waiting: set[asyncio.Future[bool]] = set()

    @property
    def counts(self) -> FaultCounts:
        """How many faults there were so far."""
        return self._counts

    @property
    def log(self) -> list[str]:
        """The last 1,000 faults, each as a line of text, oldest first.

        Each end of a connection has a number, in the order of their first read or write.
        """
        return list(self._log)

    def __enter__(self) -> Self:
        """Cause faults from now on.

        Raises:
            RuntimeError: the loop is closed, has faults already or runs in another thread, or this
                object was used before.
        """
        loop: Any = self._loop
        loop._check_closed()
        loop._check_thread()
        if loop._faults is not None:
            raise RuntimeError("the loop has faults already")
        if self._was_used:
            raise RuntimeError("faults() must be called again for each use")
        loop._use_faults(True)
        loop._faults = self
        self._was_used = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cause no more faults; what was late goes on at once.

        Raises:
            RuntimeError: the loop runs in another thread.
        """
        loop: Any = self._loop
        loop._check_thread()
        loop._use_faults(False)
        loop._faults = None
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            _decide(future, False)
        failed, self._failed = list(self._failed), WeakSet()
        with ExitStack() as stack:  # An exception that ends the run keeps none of them.
            for transport, line in list(self._lines.items()):
                line.cancel()
                if not loop.is_closed():
                    stack.callback(loop._let_go, transport)
            for sock in failed:
                if not loop.is_closed() and sock in (loop._resting or ()):
                    stack.callback(loop._accept_again, sock)
        self._lines.clear()

    def __repr__(self) -> str:
        """Show the seed and the counts."""
        return f"<Faults seed={self._seed} {self._counts}>"

    def _transfer(self, transport: asyncio.BaseTransport, sends: bool, size: int) -> int:
        """Decide what becomes of a read, or with `sends` of a write, of `size` bytes.

        Returns:
            How many bytes to read or write at most; 0 for nothing yet, -1 for a reset.
        """
        line = self._lines.get(transport)
        if line is None:
            self._made += 1
            line = self._lines[transport] = _Line(self._seed, self._made, self._rates["resets"])
        way = line.ways[sends]
        if way.timer is not None:
            return LATE
        what = f"connection {line.number}: {'write' if sends else 'read'} of {size} bytes"
        if way.is_late:  # It has waited, and comes now.
            way.is_late = False
        else:
            if way.left_until_reset == 0:
                self._note("resets", f"connection {line.number}: reset")
                line.cancel()
                return RESET
            if way.left_until_reset is not None:
                way.left_until_reset -= 1
            if way.random.random() < self._rates["late"]:
                delay = self._delay_of(way.random)
                way.is_late = True
                way.timer = self._loop.call_later(delay, self._end_wait, transport, sends)
                self._note("late", f"{what} is {delay:.3f} s late")
                return LATE
        if way.random.random() < self._rates["pieces"] and size > 1:
            piece = int(math.exp(way.random.random() * math.log(size)))
            piece = min(max(piece, 1), size - 1)
            self._note("pieces", f"{what} ends after {piece}")
            return piece
        return max(size, 1)

    def _end_wait(self, transport: asyncio.BaseTransport, sends: bool) -> None:
        """Have the transport read or write what was late."""
        if (line := self._lines.get(transport)) is not None:
            line.ways[sends].timer = None
            loop: Any = self._loop
            loop._fire(transport, EVENTS[sends])

    def _accept(self, sock: socket.socket) -> int | None:
        """Decide whether to accept connections: return the `errno` that accept() fails with."""
        random = self._listeners.get(sock)
        if random is None:
            self._listened += 1
            random = self._listeners[sock] = Random(f"{self._seed} accept {self._listened}")
        if sock in self._failed:  # Trying again helps.
            self._failed.discard(sock)
            return None
        if random.random() >= self._rates["accepts"]:
            return None
        self._failed.add(sock)
        self._note("accepts", "accept: too many open files")
        return errno.EMFILE

    async def _connect(self, sock: socket.socket, address: object) -> None:
        """Decide what becomes of a connection: return when it may be opened, or raise."""
        if sock.type != socket.SOCK_STREAM:
            return
        self._connected += 1
        what = f"connect {self._connected}"
        random = Random(f"{self._seed} {what}")
        is_remote = sock.family != socket.AF_UNIX
        if random.random() < self._rates["connects"]:
            kind = random.choice(("refused", "timed out", "not answered"))
            delay = LONGEST_CONNECT_S if kind == "not answered" else self._delay_of(random)
            if kind == "timed out" and not is_remote:  # The kernel has no such error for a path.
                kind = "refused"
            self._note("connects", f"{what}: {kind}")
            if await self._wait(delay):
                if kind == "refused":
                    raise _error(errno.ECONNREFUSED, address)
                if is_remote:
                    raise _error(errno.ETIMEDOUT, address)
        elif random.random() < self._rates["late"]:
            delay = self._delay_of(random)
            self._note("late", f"{what} is {delay:.3f} s late")
            await self._wait(delay)

    async def _wait(self, delay: float) -> bool:
        """Wait, and return `True`; return `False` as soon as the faults are over."""
        future: asyncio.Future[bool] = self._loop.create_future()
        timer = self._loop.call_later(delay, _decide, future, True)
        self._waiting.add(future)
        try:
            return await future
        finally:
            self._waiting.discard(future)
            timer.cancel()

    def _delay_of(self, random: Random) -> float:
        """Return how many seconds something is late: short delays are more likely."""
        shortest = min(SHORTEST_DELAY_S, self._delay)
        return float(shortest * (self._delay / shortest) ** random.random())

    def _note(self, kind: str, line: str) -> None:
        self._counts = replace(self._counts, **{kind: getattr(self._counts, kind) + 1})
        self._log.append(line)


class _Way:
    """One direction of a transport."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.timer: asyncio.TimerHandle | None = None
        #: It has been late since its last transfer.
        self.is_late = False
        #: So many transfers are left before a reset; `None` without one.
        self.left_until_reset: int | None = None


class _Line:
    """One end of a connection."""

    def __init__(self, seed: int, number: int, resets: float) -> None:
        self.number = number
        self.ways = tuple(_Way(Random(f"{seed} {number} {way}")) for way in ("read", "write"))
        random = Random(f"{seed} {number}")
        if random.random() < resets:
            self.ways[random.randrange(2)].left_until_reset = random.randrange(FIRST_TRANSFERS)

    def cancel(self) -> None:
        """Forget what is late."""
        for way in self.ways:
            if way.timer is not None:
                way.timer.cancel()
                way.timer = None


def _decide(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


def _error(number: int, address: object) -> OSError:
    """Return the error of a connection that the kernel could not open."""
    return OSError(number, f"Connect call failed {address}")


def faults(
    loop: asyncio.AbstractEventLoop,
    *,
    seed: int,
    pieces: float = 0.25,
    late: float = 0.1,
    resets: float = 0.02,
    connects: float = 0.05,
    accepts: float = 0.05,
    delay: float = 0.05,
) -> Faults:
    """Return a context manager within which a loop's connections have a bad day.

    The sockets are real, and what happens is what the kernel may do at any time: a read returns
    only a part of what was sent, a write is taken only in part, bytes come late, a connection is
    reset, refused or never answered. Bytes are never lost, doubled or reordered, except that a
    reset ends a connection. It is for any yamanote loop, running or not; on the thread
    that runs it. What was late goes on at once after the `with`.

    It concerns what `create_connection`, `create_server`, `open_connection`, `start_server`, their
    Unix variants and `sock_connect` make, with and without TLS; not pipes, datagrams, `sendfile`,
    and the other `sock_*` methods.

    Each number but `seed` and `delay` is a probability, from 0 for never to 1 for always.

    Args:
        loop: a loop of yamanote.
        seed: which faults. The same seed leads to the same faults where a program does the same.
        pieces: that a read or a write ends before all is read or written.
        late: that a read, a write or the opening of a connection comes late.
        resets: that one end of a connection is reset, early: instead of one of its first 16 reads
            or writes, with `ConnectionResetError` at this end and a real reset for the other one.
            (On a Unix socket, the other end may see only the end of the stream.)
        connects: that a connection is refused (`ECONNREFUSED`), times out (`ETIMEDOUT`) or is not
            answered: the kernel gives that up after 127 seconds, with `ETIMEDOUT`. (For a path
            there is no `ETIMEDOUT`: after so long, the connection is made.)
        accepts: that a server meets `EMFILE`. The loop's exception handler is told, and the
            loop tries again a second later, which helps then.
        delay: seconds that something is late at most.

    Raises:
        TypeError: `loop` is not yamanote's, `seed` is no integer, or another number is none.
        ValueError: a number is not in its range.
        RuntimeError: at the `with`: the loop is closed, has faults already or runs in another
            thread, or the same object was used before.
    """
    if not isinstance(loop, Loop):
        raise TypeError(f"a loop of yamanote is required, not {type(loop).__name__}")
    rates = {
        "pieces": pieces,
        "late": late,
        "resets": resets,
        "connects": connects,
        "accepts": accepts,
    }
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1, not {rate!r}")
    if not 0 < delay < math.inf:
        raise ValueError(f"delay must be a positive number of seconds, not {delay!r}")
    return Faults(loop, index(seed), rates, delay)
