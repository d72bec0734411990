"""Slow look-ups: only their own callers wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.turns import run_one_turn
from yamanote import _dns_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs import Program

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def ours_only(loop_name: str) -> Iterator[None]:
    """Asyncio's look-ups share the default executor, which is what these tests are about."""
    if loop_name == "asyncio":
        pytest.skip("asyncio's look-ups wait for each other in the default executor")
    yield
    # The loop is closed by now.
    for thread in look_up_threads():
        thread.join(PATIENCE_S)


class Resolver:
    """A `socket.getaddrinfo` that blocks for names that begin with `slow`."""

    def __init__(self) -> None:
        """Blocks slow look-ups until they are released."""
        self.held = threading.Event()
        self.released = threading.Event()
        self.asked: list[str] = []
        self._genuine = socket.getaddrinfo

    def __call__(self, host: Any, *arguments: Any) -> Any:  # noqa: ANN401 - as socket's.
        """Returns at once, or blocks."""
        self.asked.append(host)
        if str(host).startswith("slow"):
            self.held.set()
            assert self.released.wait(PATIENCE_S)
            raise socket.gaierror(socket.EAI_NONAME, "too slow")
        return self._genuine(host, *arguments)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Replaces `socket.getaddrinfo`; releases blocked callers at the end."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.released.set()


def look_up_threads() -> list[threading.Thread]:
    """Returns the look-up threads, busy or idle."""
    return [thread for thread in threading.enumerate() if thread.name == "yamanote-dns"]


def test_a_look_up_does_not_wait_for_slow_ones(
    loop: asyncio.AbstractEventLoop, resolver: Resolver
) -> None:
    async def main() -> None:
        slow = [loop.create_task(loop.getaddrinfo(f"slow-{n}", 80)) for n in range(40)]
        await asyncio.sleep(0)
        answer = await asyncio.wait_for(loop.getaddrinfo("localhost", 80), PATIENCE_S)
        assert answer == socket.getaddrinfo("localhost", 80)
        assert not any(task.done() for task in slow)
        resolver.released.set()
        errors = await asyncio.gather(*slow, return_exceptions=True)
        assert {str(error) for error in errors} == {f"[Errno {socket.EAI_NONAME}] too slow"}

    loop.run_until_complete(main())
    assert loop._default_executor is None  # type: ignore[attr-defined]


def test_threads_are_bounded(
    loop: asyncio.AbstractEventLoop, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dns_threads, "MOST_THREADS", 3)

    async def main() -> None:
        slow = [loop.create_task(loop.getaddrinfo(f"slow-{n}", 80)) for n in range(10)]
        await asyncio.sleep(0)
        assert len(look_up_threads()) == 3
        resolver.released.set()
        await asyncio.gather(*slow, return_exceptions=True)
        assert len(resolver.asked) == 10
        assert len(look_up_threads()) == 3

    loop.run_until_complete(main())


def test_a_cancelled_caller_goes_on_at_once(
    loop: asyncio.AbstractEventLoop, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dns_threads, "MOST_THREADS", 1)

    async def main() -> None:
        slow = loop.create_task(loop.getaddrinfo("slow", 80))
        assert await loop.run_in_executor(None, resolver.held.wait, PATIENCE_S)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        waiting = loop.create_task(loop.getaddrinfo("slow-too", 80))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        resolver.released.set()
        await loop.getaddrinfo("localhost", 80)
        # The look-up that was cancelled while queued was never made.
        assert resolver.asked == ["slow", "localhost"]

    loop.run_until_complete(main())


def test_getnameinfo_has_the_same_threads(
    loop: asyncio.AbstractEventLoop, resolver: Resolver
) -> None:
    del resolver

    async def main() -> None:
        slow = [loop.create_task(loop.getaddrinfo(f"slow-{n}", 80)) for n in range(10)]
        await asyncio.sleep(0)
        await asyncio.wait_for(loop.getnameinfo(("127.0.0.1", 80)), PATIENCE_S)
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)

    loop.run_until_complete(main())


def test_closing_the_loop_waits_for_no_look_up(
    loop: asyncio.AbstractEventLoop, resolver: Resolver
) -> None:
    task = loop.create_task(loop.getaddrinfo("slow", 80))
    run_one_turn(loop)
    assert len(look_up_threads()) == 1
    task.cancel()
    run_one_turn(loop)
    loop.close()
    resolver.released.set()
    for thread in look_up_threads():
        thread.join(PATIENCE_S)
    assert look_up_threads() == []


def test_an_idle_thread_ends_and_another_comes(
    loop: asyncio.AbstractEventLoop, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dns_threads, "IDLE_S", 0.01)
    for _ in range(3):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
        for thread in look_up_threads():
            thread.join(PATIENCE_S)
        assert look_up_threads() == []
    assert len(resolver.asked) == 3


def test_an_idle_thread_is_used_again(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(20):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
        assert len(look_up_threads()) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_plain_name_needs_one_thread_and_no_python_on_it(loop: asyncio.AbstractEventLoop) -> None:
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(20):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
        assert look_up_threads() == []
        # A thread of an earlier loop may be about to end.
        assert len(os.listdir("/proc/self/task")) <= threads + 1


def test_a_plain_name_may_be_given_up_and_the_loop_closed(loop: asyncio.AbstractEventLoop) -> None:
    tasks = [loop.create_task(loop.getaddrinfo("localhost", port)) for port in range(100)]
    run_one_turn(loop)
    for task in tasks[::2]:
        task.cancel()
    run_one_turn(loop)
    assert all(task.done() for task in tasks[::2])
    for task in tasks:
        task.cancel()
    run_one_turn(loop)
    loop.close()


def test_nothing_is_kept_of_an_answer(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer:
        pass

    remembered: list[weakref.ref[Any]] = []

    def resolve(host: str, *_: object) -> object:
        answer = Answer()
        error = socket.gaierror(1, "no")
        error.answer = answer  # type: ignore[attr-defined]
        remembered.append(weakref.ref(answer))
        if host == "failing":
            raise error
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    gc.disable()
    try:
        for host in ("succeeding", "failing"):
            with contextlib.suppress(socket.gaierror):
                loop.run_until_complete(loop.getaddrinfo(host, 80))
            loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
        run_one_turn(loop)
        loop.close()
        for thread in look_up_threads():
            thread.join(PATIENCE_S)
    finally:
        gc.enable()
    gc.collect()
    assert [reference() for reference in remembered] == [None] * 4


def test_debug_mode_logs_and_answers_the_same(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "asyncio")
    loop.set_debug(True)
    for host in ("127.0.0.1", "localhost"):
        answer = loop.run_until_complete(loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM))
        assert answer == socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        assert f"Getting address info {host}:80" in caplog.text
    assert loop._default_executor is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", ["loop.close()", "del loop", "pass", "raise SystemExit(0)"])
def test_the_program_ends_during_a_look_up(program: Program, end: str) -> None:
    """A hang would end with the other end's timeout; `socket` is patched in the child."""
    result = program.run(
        f"""
        import socket, threading, warnings

        started = threading.Event()

        def resolve(*_):
            started.set()
            threading.Event().wait()

        socket.getaddrinfo = resolve
        warnings.simplefilter("ignore", ResourceWarning)

        async def main():
            task = asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo("name", 80))
            await asyncio.sleep(0)
            while not started.is_set():
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        loop = new_event_loop()
        loop.run_until_complete(main())
        print("done", flush=True)
        {end}
        """
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_run_ends_during_a_look_up(program: Program) -> None:
    result = program.run(
        """
        import socket, threading

        socket.getaddrinfo = lambda *_: threading.Event().wait()

        async def main():
            try:
                await asyncio.wait_for(
                    asyncio.get_running_loop().getaddrinfo("name", 80), 0.05)
            except asyncio.TimeoutError:
                print("done", flush=True)

        run(main())
        """
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="warns about the parent's threads")
def test_a_forked_child_looks_up(program: Program) -> None:
    result = program.run(
        """
        import os, sys

        loop = new_event_loop()
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
        child = os.fork()
        if not child:
            new = new_event_loop()
            new._look_ups = loop._look_ups
            new.run_until_complete(new.getaddrinfo("localhost", 80))
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        loop.close()
        """
    )
    assert (result.returncode, result.stdout) == (0, "7\n"), result.stderr
