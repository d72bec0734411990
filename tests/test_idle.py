"""An idle server costs nothing: one thread, no wake-ups, no CPU time."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.processes import LINUX, activity, thread_count, wait_until_idle

if TYPE_CHECKING:
    from tests.programs import Program

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
]

#: Long enough to reveal polling at any usual rate: ten times a second would show five times.
OBSERVED_S = 0.5

SERVER = """
async def main():
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print("ready")
    print(server.sockets[0].getsockname()[1])
    await server.serve_forever()

run(main())
"""

TIMER = """
loop = new_event_loop()
loop.call_later(3600, print)
loop.call_soon(print, "ready")
loop.run_forever()
"""

NOTHING = """
loop = new_event_loop()
loop.call_soon(print, "ready")
loop.run_forever()
"""


@pytest.mark.parametrize("source", [NOTHING, TIMER, SERVER], ids=["nothing", "timer", "server"])
def test_an_idle_loop_sleeps_in_its_one_thread(program: Program, source: str) -> None:
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid, quiet_s=0.1)
        before = activity(child.pid)
        time.sleep(OBSERVED_S)
        assert activity(child.pid) == before
        assert thread_count(child.pid) == 1


def test_a_server_with_idle_connections_sleeps_in_its_one_thread(program: Program) -> None:
    with program.start(SERVER, "-u") as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for client in clients:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        wait_until_idle(child.pid, quiet_s=0.1)
        before = activity(child.pid)
        time.sleep(OBSERVED_S)
        assert activity(child.pid) == before
        assert thread_count(child.pid) == 1
        for client in clients:
            client.close()
