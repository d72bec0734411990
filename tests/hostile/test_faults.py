"""System calls that fail, once or permanently: no source falls silent, and no loop ends."""

from __future__ import annotations

import errno
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.faults.shim import CONTROL

if TYPE_CHECKING:
    from tests.faults.shim import Faults
    from tests.programs import Program

#: Errors of accept(2) that concern one connection, and those for lack of resources.
ACCEPT_ERRORS = [
    errno.EPERM,
    errno.EINVAL,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.ECONNABORTED,
    errno.ETIMEDOUT,
    errno.EIO,
]

SERVER = """
async def visit(path):
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()

async def serve(reader, writer):
    writer.write(b"hi")
    writer.close()
"""


def test_a_server_accepts_after_any_error_of_a_connection_that_waited(
    program: Program, faults: Faults
) -> None:
    source = f"""
    async def main():
        contexts = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        with tempfile.TemporaryDirectory() as folder:
            server = await asyncio.start_unix_server(serve, folder + "/socket")
            for error in {ACCEPT_ERRORS}:
                # asyncio treats EPERM from either call as an error; yamanote then calls accept().
                both = [f"{{name}}={{error}}@1-2" for name in ("accept4", "accept")]
                fail(*both)
                contexts.clear()
                assert await visit(folder + "/socket") == b"hi", error
                assert calls("accept4") > 1, error
                assert bool(contexts) == (error != errno.ECONNABORTED), (error, contexts)
                for context in contexts:
                    assert context["exception"].errno == error, context
                fail()
                assert await visit(folder + "/socket") == b"hi", error
            server.close()
        print("served")

    run(main())
    """
    source = "import tempfile" + CONTROL + SERVER + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOBUFS, errno.EINVAL, errno.ENETDOWN])
def test_a_server_that_cannot_accept_for_long_accepts_when_it_can(
    program: Program, faults: Faults, error: int
) -> None:
    source = f"""
    async def main():
        asyncio.constants.ACCEPT_RETRY_DELAY = 0.001
        often = asyncio.Event()
        contexts = []

        def note(_, context):
            contexts.append(context["exception"].errno)
            if len(contexts) == 30:
                often.set()

        asyncio.get_running_loop().set_exception_handler(note)
        with tempfile.TemporaryDirectory() as folder:
            server = await asyncio.start_unix_server(serve, folder + "/socket")
            fail("accept4={error}@1-0")
            visits = [asyncio.create_task(visit(folder + "/socket")) for _ in range(3)]
            await often.wait()
            fail()
            assert await asyncio.gather(*visits) == [b"hi"] * 3
            assert set(contexts) == {{{error}}}
            server.close()
        print("served")

    run(main())
    """
    source = "import tempfile" + CONTROL + SERVER + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


def test_a_watch_that_comes_and_goes_in_one_callback_is_one_system_call(
    program: Program, faults: Faults, loop_name: str
) -> None:
    """As psycopg has it: it waits for its connection again and again while it reads one answer."""
    if loop_name == "asyncio":
        pytest.skip("it makes two")
    source = """
    import socket

    async def main():
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        loop.add_reader(here, int)
        fail("epoll_ctl=1@1000-1000")
        for _ in range(100):
            loop.remove_reader(here)
            loop.add_reader(here, int)
        assert calls("epoll_ctl") == 100
        loop.remove_reader(here)
        assert calls("epoll_ctl") == 100
        await asyncio.sleep(0)
        assert calls("epoll_ctl") == 101
        here.close(), there.close()
        print("served")

    run(main())
    """
    source = CONTROL + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


def test_a_set_that_cannot_be_made_anew_serves_on(program: Program, faults: Faults) -> None:
    """A watched file that stays open under another number leaves only with the epoll set."""
    source = """
    import socket

    async def main():
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        seen = []
        loop.add_reader(here.fileno(), seen.append, "gone")
        # It stays open under its other number, and so it stays in the epoll set.
        other = here.dup()
        os.close(here.detach())
        near, far = socket.socketpair()
        near.setblocking(False)
        fail(f"epoll_create1={errno.EMFILE}@1-0")
        for number in range(20):
            there.send(b"x")
            far.send(b"%d" % (number % 10))
            assert await asyncio.wait_for(loop.sock_recv(near, 1), 10) == b"%d" % (number % 10)
        fail()
        far.send(b"y")
        assert await asyncio.wait_for(loop.sock_recv(near, 1), 10) == b"y"
        for one in (there, other, near, far):
            one.close()
        print("served")

    run(main())
    """
    done = program.run(CONTROL + textwrap.dedent(source), env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


@pytest.mark.slow
def test_no_error_of_a_transport_leaves_it_neither_closed_nor_served(
    program: Program, faults: Faults
) -> None:
    """Each call fails once, with any error: data arrives, or `connection_lost()` is called."""
    source = """
    import socket

    class Echo(asyncio.Protocol, asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

        def datagram_received(self, data, address):
            self.transport.sendto(data, address)

        def error_received(self, error):
            pass

    class Client(asyncio.Protocol, asyncio.DatagramProtocol):
        def __init__(self):
            self.end = asyncio.get_running_loop().create_future()

        def over(self, how):
            self.end.done() or self.end.set_result(how)

        def data_received(self, data):
            self.over("data")

        def datagram_received(self, data, address):
            self.over("data")

        def error_received(self, error):
            self.over("error")

        def connection_lost(self, error):
            self.over("lost")

    async def stream(loop):
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        transport, client = await loop.create_connection(
            Client, *server.sockets[0].getsockname()
        )
        yield lambda: transport.write(b"x"), client, transport
        server.close()

    async def datagram(loop):
        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        transport, client = await loop.create_datagram_endpoint(
            Client, remote_addr=server.get_extra_info("sockname")
        )
        yield lambda: transport.sendto(b"x"), client, transport
        server.close()

    async def pipe(loop):
        here, there = os.pipe()
        reading, client = await loop.connect_read_pipe(Client, open(here, "rb"))
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(there, "wb"))
        def write():
            writing.write(b"x")
        yield write, client, reading
        writing.close()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        for kind, names in [
            (stream, ("recv", "recvmsg", "send", "sendmsg")),
            (datagram, ("recvfrom", "sendto", "send", "recvmmsg", "sendmmsg")),
            (pipe, ("read", "write")),
        ]:
            for name in names:
                for error in (
                    errno.EPERM, errno.EINVAL, errno.ENOBUFS, errno.ENOMEM, errno.EIO,
                    errno.ENETDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EINTR,
                ):
                    async for send, client, transport in kind(loop):
                        fail(f"{name}={error}@1-1")
                        send()
                        try:
                            await asyncio.wait_for(asyncio.shield(client.end), 0.1)
                        except TimeoutError:
                            # A datagram may be lost, but not a later one.
                            assert kind is datagram or name in ("write",), (name, error)
                            send()
                            await asyncio.wait_for(client.end, 10)
                        fail()
                        transport.abort() if hasattr(transport, "abort") else transport.close()
                    await asyncio.sleep(0)
        print("served")

    run(main())
    """
    done = program.run(CONTROL + textwrap.dedent(source), env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


@pytest.mark.parametrize("error", [errno.EINTR, errno.EIO, errno.ENOMEM])
def test_a_wake_that_cannot_be_written_keeps_no_later_one_from_the_loop(
    program: Program, faults: Faults, error: int
) -> None:
    source = f"""
    import threading

    def call(loop):
        for last in [1, 3, 1, 3, 1, 3]:
            for _ in range(20):
                came = threading.Event()
                fail(f"write={error}@1-{{last}}", f"send={error}@1-{{last}}")
                for _ in range(last):
                    loop.call_soon_threadsafe(int)
                fail()
                loop.call_soon_threadsafe(came.set)
                assert came.wait(10), last
        loop.call_soon_threadsafe(loop.stop)
        print("served")

    loop = new_event_loop()
    thread = threading.Thread(target=call, args=(loop,))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    loop.close()
    """
    done = program.run(CONTROL + textwrap.dedent(source), env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


def test_signals_that_cannot_be_read_cost_no_result(program: Program, faults: Faults) -> None:
    source = """
    import signal

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda *_: print("told"))
        fail(f"recv={errno.ENOMEM}@1-0")
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.sleep(0.001)
        return "result"

    signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        result = runner.run(main())
        fail()
        print(result, runner.run(asyncio.sleep(0, "again")))
    """
    done = program.run(CONTROL + textwrap.dedent(source), env=faults.environment())
    *told, last = done.stdout.splitlines()
    assert (last, done.stderr, done.returncode) == ("result again", "", 0)
    assert set(told) <= {"handled", "told"}


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_write_that_the_kernel_cut_short_goes_on_without_an_event(
    program: Program, faults: Faults, last: int
) -> None:
    """As a Unix socket or pipe that finds no memory for more, and so is not full afterwards."""
    source = f"""
    DATA = bytes(range(250)) * 40

    async def through(reader, writer):
        for _ in range(5):
            fail(*(f"{{name}}=-1@1-{last}" for name in ("send", "sendmsg", "write", "writev")))
            writer.write(DATA)
            writer.write(DATA)
            assert await asyncio.wait_for(reader.readexactly(2 * len(DATA)), 10) == 2 * DATA
        fail()

    async def sockets():
        served = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(
            lambda *streams: served.set_result(streams), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        there = await served
        await through(reader, there[1])
        await through(there[0], writer)
        writer.close()
        there[1].close()
        server.close()

    async def pipe():
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        reader = asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), open(out, "rb")
        )
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(into, "wb"))
        await through(reader, writing)
        writing.close()
        reading.close()

    async def main():
        await sockets()
        await pipe()
        print("served")

    run(main())
    """
    done = program.run(CONTROL + textwrap.dedent(source), env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)
