"""What a request costs in libraries that live on asyncio's streams.

Of hypercorn the server, of redis-py the client. `instructions.py` counts them as rows; they are
imported only then.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import socket
from itertools import repeat
from typing import TYPE_CHECKING, cast

import server
from echoes import LIMIT
from lockstep import CONNECTIONS, Lockstep, Messages

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from micro import Timed

    Event = dict[str, object]
    Serve = Callable[..., Coroutine[object, object, None]]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benches\r\nAccept: */*\r\n\r\n"
BODY = b"hello"

#: As long as what hypercorn sends; the date's length is always the same.
RESPONSE = (
    b"HTTP/1.1 200 \r\ncontent-type: text/plain\r\ncontent-length: 5\r\n"
    b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: hypercorn-h11\r\n\r\n" + BODY
)

#: Seconds, and requests: a connection stays open.
LONG_S = 3600
MANY = 1_000_000


async def application(
    scope: Event,
    receive: Callable[[], Awaitable[Event]],
    send: Callable[[Event], Awaitable[None]],
) -> None:
    """Answer every request with the same few bytes."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def serve_hypercorn(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, _tls: ssl.SSLContext | None
) -> object:
    """Serve with hypercorn, over HTTP/1.1."""
    from hypercorn.config import Config

    # Its annotations are incomplete.
    serve = cast("Serve", importlib.import_module("hypercorn.asyncio").serve)

    config = Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.keep_alive_timeout = LONG_S
    config.keep_alive_max_requests = MANY
    config.accesslog = config.errorlog = None
    return loop.create_task(serve(application, config, shutdown_trigger=asyncio.Event().wait))


def hypercorn(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Make requests to hypercorn, over connections that stay open."""
    return Messages(serve_hypercorn, REQUEST, answer_bytes=len(RESPONSE)).prepare(loop, operations)


#: By the command's name; every other one is answered with "OK".
ANSWERS = {b"GET": b"$5\r\nvalue\r\n", b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n"}


class Redis:
    """A server that knows what redis-py says to one, in the loop's thread.

    One callback answers what every connection has sent, and is not counted: as `Lockstep` does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen."""
        self._listener = socket.create_server((server.HOST, 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._connections: dict[int, socket.socket] = {}
        self._ready = select.epoll()
        self._ready.register(self._listener, select.EPOLLIN)
        loop.add_reader(self._ready.fileno(), self._answer)

    def _answer(self) -> None:
        if Lockstep.counting:
            Lockstep.counting.toggle()
        for descriptor, _ in self._ready.poll(0):
            if descriptor == self._listener.fileno():
                connection, _ = self._listener.accept()
                self._connections[connection.fileno()] = connection
                self._ready.register(connection, select.EPOLLIN)
            else:
                connection = self._connections[descriptor]
                asked = names(connection.recv(LIMIT))
                connection.sendall(b"".join(ANSWERS.get(name, b"+OK\r\n") for name in asked))
        if Lockstep.counting:
            Lockstep.counting.toggle()


def names(commands: bytes) -> Iterator[bytes]:
    """Yield the name of each command: an array of strings, each after its length."""
    lines = iter(commands.split(b"\r\n"))
    for head in lines:
        if head.startswith(b"*"):
            strings = [next(lines) for _ in range(2 * int(head[1:]))][1::2]
            yield strings[0].upper()


def redis_get(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Get a value with redis-py, over connections that stay open."""
    from redis.asyncio import Redis as Client

    redis = Redis(loop)

    async def get(client: Client, times: int) -> None:
        for _ in repeat(None, times):
            assert await client.get("key") == b"value"

    async def everywhere(times: int) -> None:
        await asyncio.gather(*(get(client, times) for client in clients))

    clients = [
        Client(host=server.HOST, port=redis.port, single_connection_client=True)
        for _ in repeat(None, CONNECTIONS)
    ]
    loop.run_until_complete(everywhere(1))
    return lambda: loop.run_until_complete(everywhere(operations // CONNECTIONS))
