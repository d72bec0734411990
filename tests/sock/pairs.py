"""Connected, non-blocking sockets of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Pair = tuple[socket.socket, socket.socket]


@contextlib.contextmanager
def unix_stream() -> Generator[Pair, None, None]:
    """A pair of stream sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield _non_blocking(ours, theirs)


@contextlib.contextmanager
def unix_datagram() -> Generator[Pair, None, None]:
    """A pair of datagram sockets."""
    with tempfile.TemporaryDirectory() as directory:
        names = [str(Path(directory) / name) for name in ("ours", "theirs")]
        ours, theirs = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        with ours, theirs:
            for sock, name in zip((ours, theirs), names, strict=True):
                sock.bind(name)
            ours.connect(names[1])
            theirs.connect(names[0])
            yield _non_blocking(ours, theirs)


@contextlib.contextmanager
def tcp() -> Generator[Pair, None, None]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield _non_blocking(ours, theirs)


@contextlib.contextmanager
def udp(family: int = socket.AF_INET) -> Generator[Pair, None, None]:
    """Two connected datagram sockets."""
    ours, theirs = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
    with ours, theirs:
        for sock in (ours, theirs):
            sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
        yield _non_blocking(ours, theirs)


KINDS: dict[str, Callable[[], contextlib.AbstractContextManager[Pair]]] = {
    "tcp": tcp,
    "unix": unix_stream,
    "udp": udp,
    "unix-datagram": unix_datagram,
}


def _non_blocking(*sockets: socket.socket) -> Pair:
    for sock in sockets:
        sock.setblocking(False)
    ours, theirs = sockets
    return ours, theirs


async def turns(count: int = 3) -> None:
    """Runs everything that is ready, and what that schedules."""
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled(task: asyncio.Task[object]) -> None:
    """Cancels a task and waits for it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


def fill(sock: socket.socket) -> int:
    """Sends until the kernel accepts no more; returns the number of bytes."""
    total = 0
    try:
        while True:
            total += sock.send(bytes(65536))
    except BlockingIOError:
        return total


def drain(sock: socket.socket) -> bytes:
    """Receives all there is."""
    received = bytearray()
    with contextlib.suppress(BlockingIOError):
        while chunk := sock.recv(65536):
            received += chunk
    return bytes(received)
