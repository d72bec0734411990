"""`Deadlock`: raised where nothing can wake the loop, and nowhere else."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from yamanote import testing


def run(main: Any, **options: Any) -> None:  # noqa: ANN401 - A coroutine.
    with asyncio.Runner(loop_factory=lambda: testing.new_event_loop(**options)) as runner:
        runner.run(main)


def test_both_tasks_of_a_lock_order_deadlock_are_named_with_their_lines() -> None:
    one, two = asyncio.Lock(), asyncio.Lock()

    async def transfer(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await asyncio.sleep(1)
            async with second:  # Both wait here.
                pass

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(transfer(one, two), name="there")
            group.create_task(transfer(two, one), name="back")

    with pytest.raises(testing.Deadlock) as caught:
        run(main())
    line = transfer.__code__.co_firstlineno + 3
    stuck = {info.name: info for info in caught.value.tasks}
    for name in ("there", "back"):
        frames = [(it.filename, it.lineno) for it in stuck[name].stack]
        assert (__file__, line) in frames
        assert f"{name}: " in str(caught.value)
    assert f'File "{__file__}", line {line}, in transfer' in str(caught.value)
    assert len(stuck) == 3


def test_the_loop_runs_on_afterwards() -> None:
    loop = testing.new_event_loop()
    event = asyncio.Event()
    task = loop.create_task(event.wait())
    with pytest.raises(testing.Deadlock):
        loop.run_until_complete(task)
    loop.call_soon(event.set)
    assert loop.run_until_complete(task)
    loop.close()


def test_an_endless_sleep_is_one() -> None:
    with pytest.raises(testing.Deadlock):
        run(asyncio.sleep(math.inf))


def test_so_is_a_loop_that_runs_for_ever_with_nothing_to_do() -> None:
    loop = testing.new_event_loop()
    with pytest.raises(testing.Deadlock, match="no task is pending"):
        loop.run_forever()
    loop.close()


def test_a_program_that_waits_for_a_socket_is_none() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        thread = threading.Timer(0.05, theirs.send, (b"x",))
        thread.start()
        assert await loop.sock_recv(ours, 1) == b"x"
        thread.join()

    for real_io in ("wait", "ignore", 0.0):
        run(main(), real_io=real_io)
    ours.close()
    theirs.close()


def test_nor_is_a_server() -> None:
    async def main() -> None:
        connected = asyncio.Event()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        # Raw: its thread is gone before it is connected to.
        client = socket.socket()
        client.setblocking(False)
        asyncio.get_running_loop().call_later(1, client.connect_ex, address)
        await connected.wait()
        client.close()
        server.close()

    run(main())


def test_nor_one_that_a_signal_may_wake() -> None:
    loop = testing.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    loop.run_forever()
    timer.join()
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.close()


def test_nor_one_with_a_handler_of_pythons_own() -> None:
    loop = testing.new_event_loop()

    def stop(_: int, __: object) -> None:
        loop.call_soon_threadsafe(loop.stop)

    before = signal.signal(signal.SIGUSR1, stop)
    code = f"import os; os.kill({os.getpid()}, {int(signal.SIGUSR1)})"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        loop.run_forever()
    finally:
        child.wait()
        signal.signal(signal.SIGUSR1, before)
        loop.close()


def test_nor_one_whose_thread_is_at_work() -> None:
    loop = testing.new_event_loop()
    release = threading.Event()

    def work() -> None:
        release.wait()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    thread.start()
    threading.Timer(0.05, release.set).start()
    loop.run_forever()
    thread.join()
    loop.close()


def test_idle_threads_of_executors_hide_none() -> None:
    async def main() -> None:
        await asyncio.to_thread(int)
        await asyncio.Event().wait()

    with pytest.raises(testing.Deadlock):
        run(main())
