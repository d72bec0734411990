"""Sandboxes and old kernels that deny system calls: the loop uses the alternatives."""

from __future__ import annotations

import errno
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.faults import shim as faults_module
from tests.hostile import sandbox

if TYPE_CHECKING:
    from tests.faults.shim import Faults
    from tests.programs import Program

#: Uses every feature that could be denied.
EVERYTHING = """
import os, socket

class Receiver(asyncio.DatagramProtocol):
    def __init__(self, count):
        self.all = asyncio.get_running_loop().create_future()
        self.got = []
        self.errors = []
        self.count = count

    def datagram_received(self, data, address):
        self.got.append(data)
        if len(self.got) == self.count:
            self.all.set_result(None)

    def error_received(self, error):
        self.errors.append(error)

async def datagrams():
    loop = asyncio.get_running_loop()
    sent = [b"%d" % number for number in range(20)]
    here, receiver = await loop.create_datagram_endpoint(
        lambda: Receiver(len(sent)), local_addr=("127.0.0.1", 0)
    )
    there, sender = await loop.create_datagram_endpoint(
        lambda: Receiver(0), remote_addr=here.get_extra_info("sockname")
    )
    for data in sent:
        there.sendto(data)
    await receiver.all
    assert receiver.got == sent and not receiver.errors and not sender.errors
    here.close()
    there.close()

async def connections():
    async def serve(reader, writer):
        writer.write(b"hi")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    for _ in range(2):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b"hi"
        writer.close()
        await writer.wait_closed()
    server.close()

async def pieces():
    # More than fits, over a Unix socket and through a pipe.
    loop = asyncio.get_running_loop()
    pieces = [b"%d" % number * 70_000 for number in range(10)]
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    other, answer = await asyncio.open_unix_connection(sock=theirs)
    writer.writelines(pieces)
    assert await other.readexactly(700_000) == b"".join(pieces)
    writer.close()
    answer.close()
    out, into = os.pipe()
    piped = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(piped), open(out, "rb")
    )
    writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(into, "wb"))
    for piece in pieces:
        writing.write(piece)
    assert await piped.readexactly(700_000) == b"".join(pieces)
    writing.close()
    reading.close()

async def timers():
    loop = asyncio.get_running_loop()
    fired = []
    started = loop.time()
    loop.call_at(started + 0.006, fired.append, 2)
    loop.call_at(started + 0.003, fired.append, 1)
    await asyncio.sleep(0.012)
    assert fired == [1, 2]
    assert loop.time() - started >= 0.012

async def threads():
    for number in range(300):
        assert await asyncio.get_running_loop().run_in_executor(None, abs, -number) == number

async def child():
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
"""


def allowed(program: Program, error: int) -> list[str]:
    """System calls that asyncio needs.

    Its server cannot accept without `accept4()` on `EPERM`, and from Python 3.12 on, its transports
    send with `sendmsg()`.
    """
    if program.module != "asyncio":
        return []
    return ["accept4", "sendmsg"] if error == errno.EPERM else ["sendmsg"]


ERRORS = pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])


@pytest.mark.slow
@pytest.mark.skipif(not sandbox.AVAILABLE, reason="needs seccomp, and known system call numbers")
@ERRORS
def test_everything_works_where_all_of_it_is_denied(program: Program, error: int) -> None:
    source = f"""
    deny({error}, *{allowed(program, error)})

    async def main():
        for part in (timers, threads, connections, datagrams, child):
            await part()
        print("worked")

    run(main())
    """
    done = program.run(sandbox.CONTROL + EVERYTHING + textwrap.dedent(source))
    if done.stdout.startswith("no seccomp"):
        pytest.skip(f"no sandbox within this one: {done.stdout}")
    assert (done.stdout, done.stderr, done.returncode) == ("worked\n", "", 0)


@pytest.mark.slow
@ERRORS
def test_everything_works_where_one_call_is_denied(
    program: Program, faults: Faults, error: int
) -> None:
    source = f"""
    async def main(part):
        await part()

    for name, part in [
        ("eventfd", threads),
        ("timerfd_create", timers),
        ("timerfd_settime", timers),
        ("epoll_pwait2", timers),
        ("accept4", connections),
        ("sendmmsg", datagrams),
        ("recvmmsg", datagrams),
        ("recvmsg", pieces),
        ("sendmsg", pieces),
        ("writev", pieces),
    ]:
        if name not in {allowed(program, error)}:
            fail(f"{{name}}={error}@1-0")
        run(main(part))
        print(name)
    """
    source = faults_module.CONTROL + EVERYTHING + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    names = (
        "eventfd timerfd_create timerfd_settime epoll_pwait2 accept4 sendmmsg recvmmsg"
        " recvmsg sendmsg writev"
    )
    assert (done.stdout.split(), done.stderr, done.returncode) == (names.split(), "", 0)


@pytest.mark.slow
def test_a_child_is_waited_for_where_no_descriptor_tells_of_its_end(
    program: Program, faults: Faults
) -> None:
    source = EVERYTHING + 'run(child())\nprint("ended")\n'
    for error in (errno.EPERM, errno.ENOSYS, errno.EMFILE):
        done = program.run(source, env=faults.environment(faults_module.fault("pidfd_open", error)))
        assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0), error


@ERRORS
def test_a_timer_denied_while_the_loop_runs_fires_all_the_same(
    program: Program, faults: Faults, error: int
) -> None:
    source = f"""
    async def main():
        await timers()
        fail("timerfd_settime={error}@1-0")
        await timers()
        fail()
        await timers()
        print("fired")

    run(main())
    """
    source = faults_module.CONTROL + EVERYTHING + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("fired\n", "", 0)


def test_a_firewall_that_denies_one_datagram_costs_no_other(
    program: Program, faults: Faults
) -> None:
    """A firewall also causes `EPERM`: for one datagram, with any of the system calls."""
    source = """
    async def main():
        loop = asyncio.get_running_loop()
        here, receiver = await loop.create_datagram_endpoint(
            lambda: Receiver(6), local_addr=("127.0.0.1", 0)
        )
        there, sender = await loop.create_datagram_endpoint(
            lambda: Receiver(0), local_addr=("127.0.0.1", 0)
        )
        fail(f"sendmmsg={errno.EPERM}@1-1", f"sendto={errno.EPERM}@2-2")
        for number in range(7):
            there.sendto(b"%d" % number, here.get_extra_info("sockname"))
        await receiver.all
        fail()
        assert receiver.got == [b"0", b"2", b"3", b"4", b"5", b"6"], receiver.got
        assert [error.errno for error in sender.errors] == [errno.EPERM]
        here.close()
        there.close()
        print("denied one")

    run(main())
    """
    source = faults_module.CONTROL + EVERYTHING + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("denied one\n", "", 0)
