"""The rows whose instructions are counted, in the order of the table."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import echoes
import libraries
import micro
import pairs
import server
from lockstep import Messages

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from micro import Timed

KIB = bytes(1024)

#: Sockets that stay open until the process ends.
WATCHED: list[socket.socket] = []


@dataclass(frozen=True)
class Row:
    """One row."""

    name: str
    what: str
    """As the table calls it."""
    prepare: Callable[[asyncio.AbstractEventLoop, int], Timed]
    operations: int
    """N; 2N are counted, too. So many that N need at least 20 million instructions, to which a
    collection of garbage more or less adds no per cent."""
    guarded: bool = True
    """Whether the guard counts it: its count repeats on every machine, and takes seconds."""
    within: float = 0.02
    """The part of the committed figure by which it may be exceeded."""


def of(name: str, what: str, operations: int, *, guarded: bool = True) -> Row:
    """Count a micro workload."""
    return Row(name, what, micro.WORKLOADS[name].prepare, operations, guarded)


def with_reader(name: str, operations: int, within: float = 0.02) -> Row:
    """Count a micro workload while the loop watches a socket, as every server's does.

    Without one, yamanote runs passes until a time is over before it looks at the kernel again: such
    a count depends on the machine's speed.
    """

    def prepare(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
        ours, theirs = socket.socketpair()
        WATCHED.append(ours)
        loop.add_reader(ours.fileno(), theirs.close)
        return micro.WORKLOADS[name].prepare(loop, operations)

    return Row(
        f"{name}_io", "the same while a socket is watched", prepare, operations, within=within
    )


def echo(name: str, what: str, messages: Messages, operations: int = 1_200) -> Row:
    """Count a server's instructions for a message there and back."""
    return Row(name, what, messages.prepare, operations)


protocol = echoes.protocols(server.EchoProtocol)
read = echoes.streams(echoes.read)

ROWS = (
    of("call_soon_0", "`call_soon`, no argument", 20_000),
    of("call_soon_3", "`call_soon`, 3 arguments", 20_000),
    of("chain", "a turn: each callback schedules the next", 10_000, guarded=False),
    with_reader("chain", 10_000),
    of("sleep_0", "`sleep(0)`", 6_000, guarded=False),
    with_reader("sleep_0", 6_000),
    of("future_wake", "a future that a callback completes", 4_000, guarded=False),
    with_reader("future_wake", 4_000),
    of("queue_ping_pong", "an item to another task and back, two queues", 1_000, guarded=False),
    with_reader("queue_ping_pong", 1_000),
    of("task", "a task, of 100 created at once", 6_000),
    of("task_awaited", "a task, created and awaited", 3_000, guarded=False),
    with_reader("task_awaited", 3_000),
    of("gather_50", "a task, of 50 gathered", 2_000),
    of("timer_cancel", "`call_later` and `cancel`", 20_000),
    of("timers_firing", "a timer, of 10,000 that fire", 10_000),
    Row(
        "timers_firing_100k",
        "a timer, of 100,000 that fire",
        micro.WORKLOADS["timers_firing"].prepare,
        100_000,
        guarded=False,
    ),
    of("wait_for", "`wait_for`", 2_000, guarded=False),
    with_reader("wait_for", 2_000, 0.05),  # How often a timer is armed anew is a matter of time.
    of("threadsafe_burst", "`call_soon_threadsafe`", 20_000),
    of("reader_changes", "`add_reader` and `remove_reader`", 12_000),
    of("reader_ping_pong", "a byte to a reader and back", 4_000),
    echo("echo_1k", "echo 1 KiB, `Protocol`", Messages(protocol, KIB), 8_000),
    echo(
        "unix_1k",
        "the same over Unix sockets",
        Messages(echoes.unix, KIB, family=socket.AF_UNIX),
        8_000,
    ),
    echo(
        "buffered_1k",
        "echo 1 KiB, `BufferedProtocol`",
        Messages(echoes.protocols(echoes.BufferedEcho), KIB),
        6_000,
    ),
    echo("stream_1k", "streams, `read` and `drain`, 1 KiB", Messages(read, KIB)),
    echo("stream_64k", "the same with 64 KiB", Messages(read, 64 * KIB), 400),
    echo(
        "timeout_1k",
        "streams, a `timeout` around each `read`",
        Messages(echoes.streams(echoes.read_in_time), KIB),
    ),
    echo(
        "readline_64",
        "streams, `readline`, 64 B",
        Messages(echoes.streams(echoes.readline), bytes(63) + b"\n"),
    ),
    echo(
        "readexactly_1k",
        "streams, two `readexactly`, 1 KiB",
        Messages(echoes.streams(echoes.readexactly), struct.pack("!I", 1020) + bytes(1020)),
    ),
    Row(
        "sock_1k",
        "`sock_recv` and `sock_sendall`, 1 KiB",
        Messages(echoes.sock, KIB).prepare,
        2_000,
        within=0.08,  # How long an idle socket stays registered is a matter of time.
    ),
    echo(
        "udp_1k", "datagrams, 1 KiB", Messages(echoes.datagrams, KIB, kind=socket.SOCK_DGRAM), 8_000
    ),
    echo("tls_1k", "TLS, `Protocol`, 1 KiB", Messages(protocol, KIB, tls=True)),
    echo("tls_stream_1k", "TLS, streams, 1 KiB", Messages(read, KIB, tls=True)),
    Row("pair_protocol", "both ends of a connection, protocols", pairs.protocol, 600),
    Row("pair_streams", "both ends of a connection, streams", pairs.streams, 200),
    Row("hypercorn", "a request, hypercorn", libraries.hypercorn, 200, guarded=False),
    Row("redis_get", "`get`, redis-py", libraries.redis_get, 400, guarded=False),
    of("pipe_100_b", "100 bytes through a pipe", 6_000),
    of("getaddrinfo_literal", "`getaddrinfo` of a literal", 4_000),
)

BY_NAME = {row.name: row for row in ROWS}
