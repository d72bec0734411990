"""Objects left open when the interpreter exits: Python's own warnings, or nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.programs import Program

#: Everything that warns when it is not closed, kept by what the interpreter clears last.
LEFT_OVER = """
import os, socket, ssl, sys

class Cycle:
    pass

class Pipe(asyncio.Protocol, asyncio.SubprocessProtocol, asyncio.DatagramProtocol):
    pass

class Greeted(asyncio.Protocol):
    def __init__(self):
        self.hello = asyncio.Event()

    def data_received(self, data):
        self.hello.set()

async def main():
    loop = asyncio.get_running_loop()
    greeted = Greeted()
    tls_server = await loop.create_server(lambda: greeted, "127.0.0.1", 0)
    host, port = tls_server.sockets[0].getsockname()
    context = ssl.create_default_context()
    shakes = asyncio.ensure_future(loop.create_connection(Pipe, host, port, ssl=context))
    await greeted.hello.wait()
    server = await loop.create_server(Pipe, "127.0.0.1", 0)
    client, _ = await loop.create_connection(Pipe, *server.sockets[0].getsockname())
    client.pause_reading()
    datagrams, _ = await loop.create_datagram_endpoint(Pipe, local_addr=("127.0.0.1", 0))
    here, there = os.pipe()
    reading, _ = await loop.connect_read_pipe(Pipe, open(here, "rb"))
    writing, _ = await loop.connect_write_pipe(Pipe, open(there, "wb"))
    child, _ = await loop.subprocess_exec(Pipe, "cat")
    a, b = socket.socketpair()
    a.setblocking(False)
    waits = asyncio.ensure_future(loop.sock_recv(a, 1))
    await asyncio.sleep(0)
    return [
        tls_server, greeted, shakes, server, client, datagrams, reading, writing, child,
        a, b, waits, loop.sock_recv(a, 1),
    ]

loop = new_event_loop()
kept = Cycle()
kept.kept = kept
kept.all = loop.run_until_complete(main())
"""

#: Ways to keep it until late.
KEEPERS = {
    "module": "sys.modules['kept'] = kept",
    "global": "",
    "builtins": "import builtins; builtins.kept = kept; del kept",
    "class": "Cycle.all = kept.all; socket.socket.kept = kept",
}


def complaints(errors: str) -> list[str]:
    """Returns lines with an exception other than Python's own warnings."""
    return [line for line in errors.splitlines() if re.match(r"(\w+\.)*\w+Error\b", line)]


@pytest.mark.slow
@pytest.mark.parametrize("keeper", list(KEEPERS))
@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "dev"])
def test_what_is_left_open_is_warned_of_and_nothing_else_is_said(
    program: Program, keeper: str, options: tuple[str, ...]
) -> None:
    source = LEFT_OVER + KEEPERS[keeper] + "\nprint('end')\n"
    done = program.run(source, *options)
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr
    assert complaints(done.stderr) == [], done.stderr
    assert "panicked" not in done.stderr


def test_a_closed_loop_leaves_nothing_to_say(program: Program) -> None:
    source = """
import sys

async def main():
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.close()
    await writer.wait_closed()

loop = new_event_loop()
server = loop.run_until_complete(asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0))
loop.run_until_complete(main())
server.close()
loop.run_until_complete(asyncio.sleep(0.01))
loop.close()
sys.modules["kept"] = loop
"""
    done = program.run(source, "-X", "dev")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
