"""Rust futures wherever asyncio accepts a coroutine, with the same results on every loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

import yamanote
from tests.interop.extension import rust

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def awaited(awaitable: Any) -> Any:  # noqa: ANN401 - whatever the extension gives.
    """Wraps an awaitable that is not a coroutine on every loop."""
    return await awaitable


def test_a_result_comes_back_whatever_it_took(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        value = object()
        assert await rust.ready(value) is value
        assert await rust.yielding(value, 1) is value
        assert await rust.yielding(value, 100) is value
        assert await rust.spawned(7, 3) == 7
        assert await rust.sleep(0.001) == 0.001
        assert await rust.ready(None) is None
        # Values that `StopIteration` would unpack if it were raised carelessly.
        assert await rust.ready((1, 2)) == (1, 2)
        error = ValueError("a value like any other")
        assert await rust.ready(error) is error
        assert await rust.yielding((), 1) == ()

    loop.run_until_complete(main())


def test_an_error_is_raised_where_it_is_awaited(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for times in (0, 1, 3):
            with pytest.raises(OSError, match="as asked") as caught:
                await rust.failing(times)
            assert caught.value.errno == 5

    loop.run_until_complete(main())


def test_a_panic_becomes_an_exception(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for make in (lambda: rust.panicking(0), lambda: rust.panicking(2), rust.spawned_panicking):
            with pytest.raises(Exception, match="panicked"):
                await make()

    loop.run_until_complete(main())


def test_every_way_to_run_a_coroutine_takes_a_future(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert await asyncio.wait_for(rust.yielding(1, 2), 10) == 1
        assert await asyncio.shield(rust.yielding(2, 2)) == 2
        assert await asyncio.gather(*(rust.yielding(n, n % 3) for n in range(50))) == list(
            range(50)
        )
        assert [await each for each in asyncio.as_completed([rust.ready(3)])] == [3]
        task = asyncio.ensure_future(rust.yielding(4, 1))
        assert await task == 4
        done, pending = await asyncio.wait({asyncio.ensure_future(rust.spawned(5, 1))})
        assert [each.result() for each in done] == [5]
        assert not pending
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            tasks = [group.create_task(awaited(rust.yielding(n, 1))) for n in range(5)]
        assert [task.result() for task in tasks] == list(range(5))

    loop.run_until_complete(main())


def test_on_yamanote_it_is_a_coroutine() -> None:
    async def main() -> None:
        future = rust.yielding("value", 1)
        assert issubclass(type(future), Coroutine)
        assert asyncio.iscoroutine(future)
        assert not asyncio.isfuture(future)
        assert repr(future) == "<RustFuture>"
        task = asyncio.create_task(future, name="rust")
        assert "rust" in repr(task)
        assert await task == "value"
        assert await asyncio.create_task(rust.ready(1)) == 1
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rust.spawned(2, 1))
        assert task.result() == 2

    yamanote.run(main())
    assert yamanote.run(awaited(asyncio.sleep(0, 3))) == 3


def test_a_future_that_is_ready_costs_no_turn() -> None:
    async def main() -> None:
        turned: list[int] = []
        asyncio.get_running_loop().call_soon(turned.append, 1)
        assert await rust.ready(1) == 1
        assert turned == []
        assert await rust.yielding(1, 1) == 1
        assert turned == [1]

    yamanote.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_poll_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
        assert loop.create_task(rust.ready(1)).done()
        task = loop.create_task(rust.yielding(2, 1))
        assert not task.done()
        assert await task == 2

    yamanote.run(main())


def test_a_future_need_not_be_sendable() -> None:
    async def main() -> None:
        assert await rust.local(0) == 0
        assert await rust.local(5) == 5
        assert await asyncio.gather(*(rust.local(3) for _ in range(10))) == [3] * 10

    yamanote.run(main())


def test_a_local_future_is_refused_on_other_loops() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="only on yamanote's loop"):
            rust.local(1)

    asyncio.run(main())


def test_without_a_running_loop_there_is_no_future() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        rust.ready(1)


def test_python_called_from_a_future_sees_the_tasks_context(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    async def look(name: str, times: int) -> str:
        VARIABLE.set(name)
        await asyncio.sleep(0)
        seen: str = await rust.call(VARIABLE.get, times)
        return seen

    async def main() -> None:
        if loop_name == "yamanote":
            seen = await asyncio.gather(*(look(f"task {n}", n % 4) for n in range(12)))
            assert seen == [f"task {n}" for n in range(12)]
        # The Python side of a Rust future runs in it on every loop.
        VARIABLE.set("outer")

        async def inside() -> str:
            await asyncio.sleep(0)
            return VARIABLE.get()

        assert await rust.await_python(inside()) == "outer"

    loop.run_until_complete(main())


def test_what_python_sets_in_a_future_stays_in_the_task() -> None:
    async def main() -> None:
        for times in (0, 2):
            await rust.call(lambda times=times: VARIABLE.set(f"poll {times}"), times)
            assert VARIABLE.get() == f"poll {times}"

    yamanote.run(main())
    assert VARIABLE.get() == "unset"


def test_wakes_come_from_the_loops_thread_and_from_others(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        for thread in (False, True):
            for wait in (rust.Gate.wait, rust.spawned_gate):
                gate = rust.Gate()
                future: asyncio.Future[int] = asyncio.ensure_future(wait(gate))
                await asyncio.sleep(0)
                gate.open(5, thread=thread)
                assert await future == 5

    loop.run_until_complete(main())


def test_a_thread_wakes_a_loop_that_waits() -> None:
    async def main() -> None:
        for _ in range(200):
            assert await rust.spawned(1, 0) == 1
            assert await rust.spawned(2, 2) == 2

    yamanote.run(main())


def test_many_workers_complete_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        gate = rust.Gate()
        waiting = [asyncio.ensure_future(rust.spawned_gate(gate)) for _ in range(500)]
        await asyncio.sleep(0)
        gate.open(3, thread=True)
        assert await asyncio.gather(*waiting) == [3] * 500

    loop.run_until_complete(main())


def test_sockets_and_timers_of_tokio_work_inside(loop: asyncio.AbstractEventLoop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.gather(*(rust.socket(port) for _ in range(20))) == [7] * 20
        server.close()
        await server.wait_closed()
        with pytest.raises(OSError, match="refused"):
            await rust.socket(port)

    loop.run_until_complete(main())


def test_a_future_is_awaited_once() -> None:
    async def main() -> None:
        future = rust.yielding(1, 1)
        assert await future == 1
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await future

        gate = rust.Gate()
        future = gate.wait()
        first = asyncio.create_task(awaited(future))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="awaited already"):
            await future
        gate.open(2)
        assert await first == 2

    yamanote.run(main())


def test_a_future_may_not_poll_itself() -> None:
    async def main() -> None:
        def again() -> None:
            with pytest.raises(ValueError, match="polled already"):
                future.send(None)
            with pytest.raises(ValueError, match="polled already"):
                future.close()

        future = rust.call(again, 0)
        await future
        future = rust.call(again, 2)
        await future

    yamanote.run(main())


def test_a_future_can_be_driven_by_hand() -> None:
    async def main() -> None:
        ready = rust.ready(8)
        with pytest.raises(StopIteration) as stopped:
            ready.send(None)
        assert stopped.value.value == 8

        future = rust.yielding(9, 1)
        waiter = future.send(None)
        assert waiter._asyncio_future_blocking is True
        assert waiter.get_loop() is asyncio.get_running_loop()
        assert not waiter.done()
        called = asyncio.Event()

        def call(_: object) -> None:
            called.set()

        # The future was woken before a waker was registered.
        await asyncio.sleep(0)
        waiter.add_done_callback(call)
        await called.wait()
        with pytest.raises(StopIteration) as stopped:
            next(future)
        assert stopped.value.value == 9

    yamanote.run(main())


def test_each_thread_has_futures_on_a_loop_of_its_own() -> None:
    results: list[list[int]] = []

    async def main() -> list[int]:
        futures = [rust.yielding(n, 2) for n in range(50)]
        futures += [rust.spawned(n, 1) for n in range(50)]
        futures += [rust.local(2) for _ in range(20)]
        return list(await asyncio.gather(*futures))

    threads = [
        threading.Thread(target=lambda: results.append(yamanote.run(main()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[*range(50), *range(50), *[2] * 20]] * 4


def test_in_debug_mode_all_is_the_same() -> None:
    async def main() -> None:
        assert await rust.yielding(1, 2) == 1
        assert await asyncio.create_task(rust.spawned(2, 1)) == 2
        assert await asyncio.wait_for(rust.local(2), 5) == 2

    yamanote.run(main(), debug=True)
