"""Forks: the child may use the loop or another one, without any effect on the parent."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.forks import answer, in_child, start_child
from tests.processes import LINUX, children
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from tests.loops import LoopFactory
    from tests.programs import Program

needs_proc = pytest.mark.skipif(not LINUX, reason="looks into /proc")


@pytest.fixture
def ours() -> Iterator[yamanote.Loop]:
    """A loop of yamanote's: asyncio's loop shares its epoll set with a forked child."""
    loop = yamanote.new_event_loop()
    yield loop
    loop.close()


async def everything() -> str:
    """Uses a bit of everything that a loop offers; returns `ok` if it works."""
    loop = asyncio.get_running_loop()
    await asyncio.create_task(asyncio.sleep(0.001))
    threaded = loop.create_future()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(threaded.set_result, None))
    thread.start()
    await threaded
    thread.join()
    await loop.run_in_executor(None, os.getpid)
    await loop.getaddrinfo("localhost", 80)
    await echo_once()
    await watch_once(loop)
    caught = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, caught.set_result, None)
    os.kill(os.getpid(), signal.SIGUSR1)
    await caught
    loop.remove_signal_handler(signal.SIGUSR1)
    return "ok"


async def echo_once() -> None:
    async with serving() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()


async def watch_once(loop: asyncio.AbstractEventLoop) -> None:
    left, right = socket.socketpair()
    with left, right:
        readable = loop.create_future()
        loop.add_reader(left, stop_watching, loop, left, readable)
        right.send(b"x")
        await readable


def stop_watching(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, readable: asyncio.Future[None]
) -> None:
    loop.remove_reader(sock)
    readable.set_result(None)


@contextlib.asynccontextmanager
async def serving() -> AsyncGenerator[tuple[str, int], None]:
    """Runs an echo server and yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.append(task)
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    connections: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*connections)


# --- an idle loop --------------------------------------------------------------------------------


def test_a_child_can_use_an_idle_loop_that_was_never_run(loop: asyncio.AbstractEventLoop) -> None:
    assert in_child(lambda: loop.run_until_complete(everything())) == "'ok'"
    assert loop.run_until_complete(everything()) == "ok"


def test_a_child_can_use_an_idle_loop_that_has_run(ours: yamanote.Loop) -> None:
    assert ours.run_until_complete(everything()) == "ok"
    assert in_child(lambda: ours.run_until_complete(everything())) == "'ok'"
    assert ours.run_until_complete(everything()) == "ok"


def test_parent_and_child_can_use_the_loop_at_the_same_time(ours: yamanote.Loop) -> None:
    async def often() -> str:
        for _ in range(20):
            await everything()
        return "ok"

    child = start_child(lambda: ours.run_until_complete(often()))
    assert ours.run_until_complete(often()) == "ok"
    assert answer(*child) == "'ok'"


def test_what_was_scheduled_runs_in_parent_and_child(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "soon")
    loop.call_later(0.001, ran.append, "later")
    task = loop.create_task(asyncio.sleep(0.002, "slept"))

    def run() -> tuple[str, list[str]]:
        return loop.run_until_complete(task), ran

    assert in_child(run) == "('slept', ['soon', 'later'])"
    assert run() == ("slept", ["soon", "later"])


def test_a_timer_of_the_child_does_not_wake_or_delay_one_of_the_parent(
    ours: yamanote.Loop,
) -> None:
    async def wait(seconds: float) -> float:
        started = time.monotonic()
        await asyncio.sleep(seconds)
        return time.monotonic() - started

    ours.run_until_complete(wait(0.001))
    child = start_child(lambda: ours.run_until_complete(wait(0.3)) < 5)
    assert ours.run_until_complete(wait(0.05)) < 5
    assert answer(*child) == "True"


def test_a_child_can_run_the_loop_in_a_thread(ours: yamanote.Loop) -> None:
    async def sleep() -> str:
        await asyncio.sleep(0.001)
        await echo_once()
        return "ok"

    def work() -> str:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(ours.run_until_complete, sleep()).result()

    assert in_child(work) == "'ok'"


def test_servers_and_watched_descriptors_of_an_idle_loop_work_in_the_child(
    ours: yamanote.Loop,
) -> None:
    """As in a server that forks its workers after binding its sockets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % os.getpid())
        writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    left, right = socket.socketpair()
    server = ours.run_until_complete(listen())
    address = server.sockets[0].getsockname()
    with left, right:
        left.setblocking(False)
        ours.add_reader(left, ours.stop)
        child = start_child(ours.run_forever)
        with socket.create_connection(address) as client:
            assert client.makefile("rb").read() == b"%d" % child[0]
        right.send(b"x")
        assert answer(*child) == "None"
        ours.remove_reader(left)
    server.close()
    run_one_turn(ours)


def test_a_connection_of_an_idle_loop_works_in_the_child(ours: yamanote.Loop) -> None:
    async def connect(
        sock: socket.socket,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"parent")
        return reader, writer

    async def talk() -> bytes:
        writer.write(b"child")
        return await reader.readexactly(5)

    left, right = socket.socketpair()
    with right:
        reader, writer = ours.run_until_complete(connect(left))
        child = start_child(lambda: ours.run_until_complete(talk()))
        right.settimeout(30)
        assert right.recv(6) == b"parent"
        assert right.recv(5) == b"child"
        right.send(b"hello")
        assert answer(*child) == "b'hello'"
        writer.close()
        run_one_turn(ours)


# --- a running loop ------------------------------------------------------------------------------


def test_a_child_of_a_running_loop_can_run_another(loop_factory: LoopFactory) -> None:
    def run_another() -> str:
        other = loop_factory()
        try:
            return other.run_until_complete(everything())
        finally:
            other.close()

    async def main() -> None:
        assert in_child(run_another) == "'ok'"
        assert await everything() == "ok"

    loop = loop_factory()
    loop.run_until_complete(main())
    loop.close()


def test_a_child_of_a_running_loop_can_call_run() -> None:
    async def main() -> None:
        assert in_child(lambda: yamanote.run(everything())) == "'ok'"
        assert await everything() == "ok"

    yamanote.run(main())


def test_a_child_that_frees_and_closes_what_it_inherits_leaves_the_parent_alone(
    ours: yamanote.Loop,
) -> None:
    async def main() -> None:
        async with serving() as address:
            reader, writer = await asyncio.open_connection(*address)
            left, right = socket.socketpair()
            readable = ours.create_future()
            ours.add_reader(left, stop_watching, ours, left, readable)

            def abandon() -> str:
                writer.transport.abort()
                ours.remove_reader(left)
                left.close()
                gc.collect()
                other = yamanote.new_event_loop()
                other.run_until_complete(asyncio.sleep(0))
                other.close()
                return "ok"

            assert in_child(abandon) == "'ok'"
            writer.write(b"alive")
            assert await reader.readexactly(5) == b"alive"
            right.send(b"x")
            await readable
            left.close()
            right.close()
            writer.close()
            await writer.wait_closed()

    ours.run_until_complete(main())


@pytest.mark.parametrize("running", [True, False])
def test_a_child_that_closes_a_unix_server_leaves_its_file(
    ours: yamanote.Loop, tmp_path: Path, running: bool
) -> None:
    path = tmp_path / "socket"

    async def listen() -> asyncio.Server:
        server = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), path)
        if running:
            assert in_child(server.close) == "None"
        return server

    server = ours.run_until_complete(listen())
    if not running:
        assert in_child(server.close) == "None"
    assert path.exists()
    server.close()
    assert path.exists() == (sys.version_info < (3, 13))
    run_one_turn(ours)


def test_a_child_that_closes_an_idle_loop_leaves_the_parent_alone(ours: yamanote.Loop) -> None:
    ours.add_signal_handler(signal.SIGUSR1, ours.stop)
    assert in_child(ours.close) == "None"
    os.kill(os.getpid(), signal.SIGUSR1)
    ours.run_forever()
    assert ours.run_until_complete(everything()) == "ok"


def test_a_child_that_leaves_a_callback_by_system_exit_sends_and_takes_nothing(
    program: Program,
) -> None:
    """Data written before the fork is sent once; the parent's connections stay its own."""
    source = """
    import os, socket, sys, warnings
    warnings.simplefilter("ignore")
    who = bytearray(b"parent")

    class Serve(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(who + b" got " + data)
            if data == b"fork":
                theirs.send(b"later")
                child = os.fork()
                if child == 0:
                    who[:] = b"child"
                    sys.exit(7)
                other.send(b"other")
                _, status = os.waitpid(child, 0)
                assert os.waitstatus_to_exitcode(status) == 7, status

    async def main():
        loop = asyncio.get_running_loop()
        global theirs, other
        pairs = [socket.socketpair() for _ in range(2)]
        for ours, theirs in pairs:
            await loop.connect_accepted_socket(Serve, ours)
            theirs.setblocking(False)
        theirs, other = pairs[0][1], pairs[1][1]
        theirs.send(b"fork")
        for sock, length in (theirs, 31), (other, 16):
            received = b""
            while len(received) < length:
                readable = loop.create_future()
                loop.add_reader(sock, readable.set_result, None)
                await readable
                loop.remove_reader(sock)
                received += sock.recv(1000)
            print(received)
        print("end")

    try:
        run(main())
    except SystemExit as exit:
        os._exit(exit.code)
    """
    if program.module == "asyncio":
        pytest.skip("the child shares the parent's epoll set")
    done = program.run(source, "-u", "-W", "ignore")
    assert done.stdout == "b'parent got forkparent got later'\nb'parent got other'\nend\n", (
        done.stderr
    )
    assert done.returncode == 0


def test_a_loop_that_ran_in_a_thread_of_the_parent_is_idle_in_the_child(
    ours: yamanote.Loop,
) -> None:
    running = threading.Event()
    thread = threading.Thread(target=ours.run_forever)
    ours.call_soon(running.set)
    thread.start()
    running.wait()
    assert in_child(lambda: (ours.is_running(), ours.run_until_complete(everything()))) == (
        "(False, 'ok')"
    )
    assert in_child(ours.close) == "None"
    future = asyncio.run_coroutine_threadsafe(echo_once(), ours)
    future.result(30)
    ours.call_soon_threadsafe(ours.stop)
    thread.join()


def test_a_child_wakes_only_its_own_loop_from_another_thread(ours: yamanote.Loop) -> None:
    """The parent's loop waits meanwhile; neither a call nor a signal in the child wakes it."""
    woken: list[float] = []

    def handle(_signal: int, _frame: object) -> None:
        pass

    async def main() -> None:
        def work() -> str:
            ours.call_soon_threadsafe(woken.append, 1)
            signal.signal(signal.SIGUSR1, handle)
            os.kill(os.getpid(), signal.SIGUSR1)
            return yamanote.run(everything())

        ours.add_signal_handler(signal.SIGUSR1, woken.append, 2)
        assert in_child(work) == "'ok'"
        await asyncio.sleep(0.01)
        ours.remove_signal_handler(signal.SIGUSR1)

    ours.run_until_complete(main())
    assert woken == []


def test_ctrl_c_in_a_child_does_not_reach_the_parent(program: Program) -> None:
    source = """
    import os, signal, warnings
    warnings.simplefilter("ignore")

    async def main():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                asyncio.Event().wait()
            except KeyboardInterrupt:
                pass
            os._exit(3)
        _, status = os.waitpid(child, 0)
        await asyncio.sleep(0.01)
        return os.waitstatus_to_exitcode(status)

    loop = new_event_loop()
    print(loop.run_until_complete(main()))
    loop.close()
    """
    done = program.run(source, "-W", "ignore")
    assert (done.stdout, done.returncode) == ("3\n", 0), done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_a_loop_that_was_made_by_the_parent(program: Program) -> None:
    source = """
    import os, signal, sys, warnings
    warnings.simplefilter("ignore")
    loop = new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    if os.fork():
        os._exit(0 if os.waitstatus_to_exitcode(os.wait()[1]) == 4 else 1)
    loop.call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    loop.call_later(30, os._exit, 5)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        os._exit(4)
    """
    done = program.run(source, "-W", "ignore")
    assert done.returncode == 0, done.stderr


# --- a closed loop -------------------------------------------------------------------------------


def test_a_closed_loop_is_closed_in_the_child(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    loop.close()

    def work() -> tuple[bool, str]:
        other = loop_factory()
        result = other.run_until_complete(everything())
        other.close()
        return loop.is_closed(), result

    assert in_child(work) == "(True, 'ok')"


# --- many, and what they leave -------------------------------------------------------------------


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@needs_proc
def test_a_child_that_closes_the_loop_keeps_no_descriptor_of_it(ours: yamanote.Loop) -> None:
    before = descriptors()
    loop = yamanote.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0.001))

    def work() -> set[str]:
        loop.run_until_complete(everything())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return descriptors() - before

    def close_only() -> set[str]:
        loop.close()
        return descriptors() - before

    # One is the pipe for the report.
    assert len(eval(in_child(work))) <= 1
    assert len(eval(in_child(close_only))) <= 1
    loop.close()


@needs_proc
@pytest.mark.slow
@pytest.mark.hang_after(300.0)
def test_a_hundred_forks_in_a_running_loop_leave_nothing_behind(ours: yamanote.Loop) -> None:
    async def main() -> None:
        async with serving() as address:
            reader, writer = await asyncio.open_connection(*address)
            before = descriptors()
            for number in range(100):
                child = start_child(
                    (lambda: yamanote.run(echo_once())) if number % 3 else gc.collect
                )
                writer.write(b"%03d" % number)
                assert await reader.readexactly(3) == b"%03d" % number
                answer(*child)
            assert descriptors() == before
            writer.close()
            await writer.wait_closed()

    before = children()
    ours.run_until_complete(main())
    assert children() == before


@needs_proc
@pytest.mark.slow
def test_generations_of_children_do_not_pile_up_descriptors(ours: yamanote.Loop) -> None:
    counts: list[int] = []

    def generation(depth: int) -> str:
        ours.run_until_complete(echo_once())
        counts.append(len(descriptors()))
        return in_child(lambda: generation(depth - 1)) if depth else repr(counts)

    found = generation(8)
    while found.startswith(("'", '"')):
        found = eval(found)
    numbers: list[int] = eval(found)
    # Each child holds the pipe to its own parent.
    assert numbers[-1] - numbers[1] <= len(numbers)


# --- multiprocessing -----------------------------------------------------------------------------


def square(number: int) -> int:
    """Runs in another process."""
    return number * number


def run_a_loop(number: int) -> int:
    """Runs in another process, on a new loop."""

    async def main() -> int:
        await everything()
        return number

    return yamanote.run(main())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_process_pool_works_from_the_loop(loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> list[int]:
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            squares = [loop.run_in_executor(pool, square, number) for number in range(6)]
            loops = [loop.run_in_executor(pool, run_a_loop, number) for number in range(2)]
            return [*await asyncio.gather(*squares), *await asyncio.gather(*loops)]

    assert loop.run_until_complete(main()) == [0, 1, 4, 9, 16, 25, 0, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_multiprocessing_pool_works_beside_the_loop(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    async def main() -> list[int]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            done = loop.create_future()
            pool.map_async(
                square, range(4), callback=lambda r: loop.call_soon_threadsafe(done.set_result, r)
            )
            result: list[int] = await done
            await asyncio.sleep(0.001)
            return result

    assert loop.run_until_complete(main()) == [0, 1, 4, 9]
