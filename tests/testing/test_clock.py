"""Virtual time: when does it jump, and when does it not?"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.extension import rust
from yamanote import fs, testing

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path
    from typing import TypeVar

    _T = TypeVar("_T")

HOUR_S = 3600.0


def run(main: Coroutine[Any, Any, _T], **options: Any) -> _T:
    """Runs `main` on a new loop with virtual time."""
    with asyncio.Runner(loop_factory=lambda: testing.new_event_loop(**options)) as runner:
        return runner.run(main)


def clock() -> testing.Clock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, testing.VirtualLoop)
    return loop.clock


@pytest.fixture
def loop() -> Iterator[testing.VirtualLoop]:
    loop = testing.new_event_loop()
    yield loop
    loop.close()


def test_an_hour_of_sleeps_timeouts_and_periodic_tasks_ends() -> None:
    async def main() -> tuple[int, int]:
        beats = expired = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(1)
                beats += 1

        task = asyncio.create_task(beat())
        while clock().time() < HOUR_S:
            try:
                async with asyncio.timeout(10):
                    await asyncio.sleep(20)
            except TimeoutError:
                expired += 1
        task.cancel()
        return beats, expired

    started = time.monotonic()
    beats, expired = run(main())
    assert expired == 360
    assert beats in (3599, 3600)
    # Not a limit of speed: without virtual time it would be an hour.
    assert time.monotonic() - started < HOUR_S / 10


def test_time_stands_still_while_something_runs() -> None:
    async def main() -> None:
        before = clock().time()
        for _ in range(100):
            await asyncio.sleep(0)
        assert clock().time() == before
        await asyncio.sleep(2.5)
        assert clock().time() == before + 2.5
        assert asyncio.get_running_loop().time() == clock().time()

    run(main(), start=100.0)


def test_the_clock_begins_where_it_is_told(loop: testing.VirtualLoop) -> None:
    assert loop.time() == 0.0
    other = testing.new_event_loop(start=5.0)
    assert other.time() == other.clock.time() == 5.0
    other.close()


def test_jumps_are_counted_and_told() -> None:
    async def main() -> None:
        told: list[float] = []
        assert clock().on_jump(told.append) is not None
        await asyncio.sleep(1)
        await asyncio.sleep(2)
        assert told == [1.0, 2.0]
        assert clock().jumps == testing.Jumps(2, 3.0)
        assert (clock().jumps.count, clock().jumps.seconds) == (2, 3.0)

    run(main())


def test_what_is_told_of_a_jump_may_schedule_and_raise(loop: testing.VirtualLoop) -> None:
    ran: list[str] = []
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    @loop.clock.on_jump
    def jumped(seconds: float) -> None:
        assert loop.clock.time() == 1.0
        loop.call_soon(ran.append, "told")
        raise ZeroDivisionError(seconds)

    async def main() -> None:
        await asyncio.sleep(1)
        ran.append("slept")

    loop.run_until_complete(main())
    assert ran == ["told", "slept"]
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]
    assert jumped is not None


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit])
def test_what_is_told_of_a_jump_may_leave(
    loop: testing.VirtualLoop, leave: type[BaseException]
) -> None:
    @loop.clock.on_jump
    def jumped(_: float) -> None:
        raise leave

    loop.call_later(1, loop.stop)
    with pytest.raises(leave):
        loop.run_forever()
    loop.run_forever()
    assert loop.time() == 1.0
    assert jumped is not None


def test_timers_of_one_time_keep_their_order(loop: testing.VirtualLoop) -> None:
    ran: list[int] = []
    for number in range(100):
        loop.call_at(1.0, ran.append, number)
    loop.call_at(1.0, loop.stop)
    loop.run_forever()
    assert ran == list(range(100))
    assert loop.clock.jumps == testing.Jumps(1, 1.0)


def test_a_cancelled_timer_is_no_reason_to_jump(loop: testing.VirtualLoop) -> None:
    loop.call_later(10, print).cancel()
    loop.call_later(20, loop.stop)
    loop.run_forever()
    assert loop.clock.jumps == testing.Jumps(1, 20.0)


def test_time_does_not_jump_while_an_executor_works() -> None:
    async def main() -> None:
        release = threading.Event()
        job = asyncio.get_running_loop().run_in_executor(None, release.wait)
        timer = asyncio.create_task(asyncio.sleep(HOUR_S))
        await asyncio.sleep(0.05)  # Passes really.
        assert clock().time() == 0.05
        release.set()
        assert await job
        assert clock().time() < HOUR_S
        await timer
        assert clock().time() == HOUR_S

    run(main())


def test_a_job_that_is_awaited_through_its_own_executor_counts_too() -> None:
    async def main() -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(pool, int)
            release = threading.Event()
            job = asyncio.wrap_future(pool.submit(release.wait))
            loop.call_later(0.05, release.set)
            async with asyncio.timeout(HOUR_S):
                await job
        assert clock().time() < HOUR_S

    run(main())


def test_sleeping_after_a_thread_takes_no_time() -> None:
    async def main() -> None:
        for _ in range(20):
            await asyncio.to_thread(int)
            await asyncio.sleep(HOUR_S)

    started = time.monotonic()
    run(main())
    assert time.monotonic() - started < HOUR_S / 10


def test_time_does_not_jump_while_the_clock_is_held() -> None:
    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        began = threading.Event()
        release = threading.Event()
        mine = clock()

        def work() -> None:
            with mine.hold():
                began.set()
                release.wait()
                loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=work)
        thread.start()
        began.wait()
        assert mine.is_held
        loop.call_later(0.02, release.set)
        async with asyncio.timeout(HOUR_S):
            await done.wait()
        assert clock().time() < HOUR_S
        thread.join()
        assert not mine.is_held

    run(main())


def test_a_hold_that_ends_lets_time_jump() -> None:
    async def main() -> None:
        hold = clock().hold()
        hold.__enter__()
        sleeping = asyncio.create_task(asyncio.sleep(HOUR_S))
        await asyncio.sleep(0.01)
        threading.Timer(0.01, hold.__exit__, (None, None, None)).start()
        await sleeping

    run(main())


def test_time_does_not_jump_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(*_: object, **__: object) -> list[Any]:
        release.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, release.set)
        async with asyncio.timeout(HOUR_S):
            assert await loop.getaddrinfo("example.invalid", 1)
        assert clock().time() < HOUR_S

    run(main())


def test_time_does_not_jump_while_a_child_runs() -> None:
    async def main() -> None:
        async with asyncio.timeout(HOUR_S):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print(input())", stdin=-1, stdout=-1
            )
            output, _ = await child.communicate(b"hello\n")
        assert output == b"hello\n"
        assert clock().time() < HOUR_S

    run(main())


def test_time_does_not_jump_while_a_file_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        writer = threading.Thread(target=pipe.write_text, args=("text",))
        loop.call_later(0.02, writer.start)
        async with asyncio.timeout(HOUR_S):
            assert await fs.read_text(pipe) == "text"
        assert clock().time() < HOUR_S
        writer.join()

    run(main())


def test_time_does_not_jump_while_a_rust_future_is_pending() -> None:
    async def main() -> None:
        async with asyncio.timeout(HOUR_S):
            await rust.sleep(0.02)
        assert clock().time() < HOUR_S

    run(main())


def test_both_ends_of_a_connection_meet_before_time_jumps() -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(100):
            writer.write(b"x" * 65536)
            async with asyncio.timeout(1e-3):
                await reader.readexactly(65536)
        assert clock().time() == 0.0
        await asyncio.sleep(HOUR_S)
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())


def test_bytes_from_elsewhere_are_waited_for() -> None:
    ours, theirs = socket.socketpair()

    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        asyncio.get_running_loop()
        timer = threading.Timer(0.1, theirs.send, (b"late",))
        timer.start()
        async with asyncio.timeout(HOUR_S):
            assert await reader.read(100) == b"late"
        assert clock().time() == 0.0
        timer.join()
        writer.close()

    run(main(), real_io=30.0)
    theirs.close()


def test_they_are_not_waited_for_longer_than_until_the_deadline() -> None:
    ours, theirs = socket.socketpair()

    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.01)
        writer.close()

    run(main(), real_io=HOUR_S)
    theirs.close()


def test_descriptors_can_be_ignored() -> None:
    ours, theirs = socket.socketpair()

    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), HOUR_S)
        writer.close()

    run(main(), real_io="ignore")
    theirs.close()


@pytest.mark.parametrize("real_io", ["later", "", -1.0, math.nan])
def test_other_rules_for_descriptors_are_refused(real_io: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="real_io must"):
        testing.new_event_loop(real_io=real_io)


def test_a_signal_comes_through(loop: testing.VirtualLoop) -> None:
    caught: list[float] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: caught.append(loop.time()))
    loop.call_later(1, os.kill, os.getpid(), signal.SIGUSR1)
    loop.call_later(2, loop.stop)
    loop.run_forever()
    assert caught == [1.0]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_another_thread_wakes_the_loop(loop: testing.VirtualLoop) -> None:
    threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,)).start()
    loop.run_forever()


def test_a_virtual_loop_runs_again(loop: testing.VirtualLoop) -> None:
    for number in range(1, 4):
        loop.run_until_complete(asyncio.sleep(1))
        assert loop.time() == number


def test_a_loop_that_is_not_for_tests_keeps_its_time() -> None:
    import yamanote

    loop = yamanote.new_event_loop()
    assert abs(loop.time() - time.monotonic()) < HOUR_S
    loop.close()
