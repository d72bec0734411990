"""The program exits cleanly while a daemon thread runs a loop, or calls one.

Before 3.14, CPython ends such a thread at its next request for the GIL, which may be in the middle
of a callback, of a destructor, or of an attribute lookup by native code.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.programs import Program

# The last object to be finalized releases the GIL after finalization has begun: then every thread
# that requests it is ended.
_BEGIN = """
import contextlib, hashlib, os, socket, threading, time

class Last:
    def __del__(self, sleep=time.sleep):
        sleep(0.05)

last = Last()
busy = threading.Event()

def spin():
    busy.set()
    while True:
        pass

def start(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()

def run_with(function, *arguments):
    loop = new_event_loop()
    loop.call_soon(function, loop, *arguments)
    loop.run_forever()

async def pause(times=200):
    for _ in range(times):
        await asyncio.sleep(0)
    busy.set()
"""
_END = """
assert busy.wait(30)
"""

_BUSY_LOOPS = {
    "a callback that never returns": "start(run_with, lambda loop: spin())",
    "a task that never returns": """
        async def main():
            spin()

        start(run, main())
        """,
    "a task that sleeps for no time": """
        async def main():
            while True:
                await pause()

        start(run, main())
        """,
    "a task of asyncio.run that computes a little": """
        async def main():
            while True:
                sum(range(3000))
                await asyncio.sleep(0.0001)
                busy.set()

        start(run, main())
        """,
    "a callback that waits without the GIL": """
        def again(loop):
            busy.set()
            time.sleep(0.002)
            hashlib.sha256(b"x" * 1_000_000).digest()
            loop.call_soon(again, loop)

        start(run_with, again)
        """,
    "a callback that schedules itself": """
        def again(loop):
            loop.call_soon(again, loop)
            busy.set()

        start(run_with, again)
        """,
    "timers": """
        def again(loop):
            for _ in range(20):
                loop.call_later(0.0005, list, range(1000))
            loop.call_later(0.0005, again, loop)
            busy.set()

        start(run_with, again)
        """,
    "an argument whose destructor never returns": """
        class Spinning:
            def __del__(self):
                spin()

        start(run_with, lambda loop: loop.call_soon(lambda _: None, Spinning()))
        """,
    "a protocol whose attribute never comes": """
        class Spinning:
            def connection_made(self, transport):
                pass

            def connection_lost(self, exc):
                pass

            def __getattr__(self, name):
                if name.startswith("_") or name == "get_buffer":
                    raise AttributeError(name)
                spin()

        async def main():
            here, there = socket.socketpair()
            there.send(b"x")
            await asyncio.get_running_loop().create_connection(Spinning, sock=here)
            await asyncio.sleep(0.1)
            spin()

        start(run, main())
        """,
    "an exception handler that never returns": """
        def fail(loop):
            loop.set_exception_handler(lambda *_: spin())
            loop.call_soon(lambda: 1 / 0)

        start(run_with, fail)
        """,
    "a reader that never returns": """
        def watch(loop):
            here, there = socket.socketpair()
            there.send(b"x")
            loop.add_reader(here, lambda: (there, spin()))

        start(run_with, watch)
        """,
    "a loop that only waits": """
        async def main():
            busy.set()
            await asyncio.sleep(0.02)
            await asyncio.Event().wait()

        start(run, main())
        """,
    "streams": """
        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line)

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            while True:
                writer.write(b"line\\n")
                await reader.readline()
                busy.set()

        start(run, main())
        """,
    "streams over TLS": """
        from tests.tls.certificates import NAME, client_context, server_context

        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line)

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context())
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_context(), server_hostname=NAME
            )
            while True:
                writer.write(b"line\\n")
                await reader.readline()
                busy.set()

        start(run, main())
        """,
    "datagrams and a pipe": """
        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, addr):
                self.transport.sendto(data, addr)
                busy.set()

        class Pipe(asyncio.Protocol):
            def data_received(self, data):
                self.write(data)

        async def main():
            loop = asyncio.get_running_loop()
            make = loop.create_datagram_endpoint
            one, _ = await make(Echo, local_addr=("127.0.0.1", 0))
            two, _ = await make(Echo, remote_addr=one.get_extra_info("sockname"))
            two.sendto(b"x")
            end, other = os.pipe()
            protocol = Pipe()
            await loop.connect_read_pipe(lambda: protocol, open(end, "rb", 0))
            writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(other, "wb", 0))
            protocol.write = writer.write
            writer.write(b"x")
            await asyncio.Event().wait()

        start(run, main())
        """,
    "raw sockets": """
        async def main():
            loop = asyncio.get_running_loop()
            here, there = socket.socketpair()
            here.setblocking(False)
            there.setblocking(False)
            while True:
                waiting = asyncio.ensure_future(loop.sock_recv(here, 10))
                await asyncio.sleep(0)
                await loop.sock_sendall(there, b"x")
                await waiting
                busy.set()

        start(run, main())
        """,
    "threads of an executor": """
        async def main():
            loop = asyncio.get_running_loop()
            with contextlib.suppress(RuntimeError):  # There is no executor any more at the end.
                while True:
                    await loop.run_in_executor(None, time.sleep, 0.001)
                    await loop.getaddrinfo("127.0.0.1", 80)
                    busy.set()
            await asyncio.Event().wait()

        start(run, main())
        """,
    "calls from other threads": """
        loop = new_event_loop()

        def call():
            while True:
                loop.call_soon_threadsafe(busy.set)

        start(loop.run_forever)
        start(call)
        start(call)
        """,
    "calls to a loop that stands still": """
        loop = new_event_loop()

        def call():
            while True:
                loop.call_soon_threadsafe(int).cancel()
                loop.time()
                busy.set()

        start(call)
        """,
    "several loops": """
        for _ in range(3):
            start(run_with, lambda loop: spin())

        async def main():
            while True:
                await pause()

        for _ in range(3):
            start(run, main())
        """,
}

_ENOUGH_FOR_ASYNCIO = {"a callback that never returns", "streams", "calls from other threads"}


@pytest.mark.slow
@pytest.mark.parametrize("case", _BUSY_LOOPS)
def test_a_program_ends_well_beside(program: Program, case: str) -> None:
    if program.module == "asyncio" and case not in _ENOUGH_FOR_ASYNCIO:
        pytest.skip("asyncio has no native stack to be unwound: a few cases show what is right")
    source = _BEGIN + textwrap.dedent(_BUSY_LOOPS[case]) + _END
    child = program.run(source, "-X", "faulthandler", "-W", "default")
    assert child.returncode == 0, child.stderr
    for sign in ("FATAL", "Fatal", "panicked"):
        assert sign not in child.stderr
