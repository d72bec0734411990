"""`yamanote.run_threads()`: a loop in each of several threads."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, cast

import pytest

import yamanote

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.programs import Program

HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

parallel = pytest.mark.skipif(HAS_GIL, reason="needs a free-threaded build that runs without a GIL")


async def double(index: int) -> int:
    """A trivial main coroutine."""
    await asyncio.sleep(0)
    return 2 * index


async def for_ever(_index: int) -> None:
    """Waits for what does not come."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.skipif(not HAS_GIL, reason="for builds that run with a GIL")
def test_it_is_refused_with_a_gil() -> None:
    with pytest.raises(RuntimeError, match="free-threaded") as caught:
        yamanote.run_threads(double, 2)
    assert "processes" in str(caught.value)


@pytest.mark.skipif(HAS_GIL, reason="starts a free-threaded build with its GIL")
def test_it_is_refused_if_the_gil_was_enabled(program: Program) -> None:
    source = """
        import yamanote

        async def main(index):
            pass

        try:
            yamanote.run_threads(main, 2)
        except RuntimeError as error:
            print(str(error)[:25])
    """
    done = program.run(source, env={"PYTHON_GIL": "1"})
    assert (done.stdout, done.stderr) == ("run_threads() needs a fre\n", "")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((None,), TypeError),
        ((double(0),), TypeError),
        ((double, "2"), TypeError),
        ((double, 2.0), TypeError),
        ((double, True), TypeError),
        ((double, 0), ValueError),
        ((double, -1), ValueError),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:coroutine 'double' was never awaited:RuntimeWarning")
def test_bad_arguments_are_refused(arguments: tuple[object], error: type[Exception]) -> None:
    run_threads = cast("Callable[..., object]", yamanote.run_threads)
    with pytest.raises(error):
        run_threads(*arguments)


@pytest.mark.parametrize(("grace", "error"), [("1", TypeError), (-1, ValueError)])
def test_a_bad_grace_is_refused(grace: object, error: type[Exception]) -> None:
    run_threads = cast("Callable[..., object]", yamanote.run_threads)
    with pytest.raises(error, match="grace"):
        run_threads(double, 2, grace=grace)


@parallel
@pytest.mark.parametrize("grace", [float("inf"), 1e300, 10**400])
def test_a_grace_may_be_for_ever(grace: float) -> None:
    async def main(index: int) -> None:
        if index == 0:
            raise ZeroDivisionError
        await for_ever(index)

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        yamanote.run_threads(main, 2, grace=grace)
    assert threading.active_count() <= before


@parallel
def test_it_is_refused_inside_a_loop() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="running event loop"):
            yamanote.run_threads(double, 2)

    yamanote.run(main())


@parallel
def test_results_come_by_index() -> None:
    assert yamanote.run_threads(double, 5) == [0, 2, 4, 6, 8]


@parallel
def test_there_are_as_many_as_cores() -> None:
    cores = getattr(os, "process_cpu_count", os.cpu_count)()
    assert cores is not None
    assert yamanote.run_threads(double) == [2 * index for index in range(cores)]


@parallel
def test_each_has_a_loop_of_ours_and_a_thread() -> None:
    together = threading.Barrier(3)

    async def main(_index: int) -> tuple[object, int]:
        together.wait()  # All run at the same time.
        return asyncio.get_running_loop(), threading.get_ident()

    found = yamanote.run_threads(main, 3)
    assert len(set(found)) == 3
    assert threading.get_ident() not in {ident for _, ident in found}
    for loop, _ in found:
        assert isinstance(loop, yamanote.Loop)
        assert loop.is_closed()


@parallel
def test_loops_are_cleaned_up_as_by_run() -> None:
    seen: list[str] = []

    async def generate() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            seen.append("generator")

    async def background() -> None:
        try:
            await for_ever(0)
        finally:
            seen.append("task")

    async def main(_index: int) -> None:
        task = asyncio.create_task(background())
        generator = generate()
        await anext(generator)
        await asyncio.to_thread(seen.append, "executor")
        kept.append((task, generator))

    kept: list[object] = []
    before = set(threading.enumerate())
    yamanote.run_threads(main, 2)
    assert sorted(seen) == ["executor", "executor", "generator", "generator", "task", "task"]
    assert set(threading.enumerate()) == before


@parallel
def test_the_first_failure_cancels_the_others() -> None:
    cancelled: list[int] = []
    together = threading.Barrier(3)

    async def main(index: int) -> None:
        together.wait()
        if index == 1:
            raise ZeroDivisionError
        try:
            await for_ever(index)
        except asyncio.CancelledError:
            cancelled.append(index)
            raise

    with pytest.raises(ZeroDivisionError) as caught:
        yamanote.run_threads(main, 3)
    assert sorted(cancelled) == [0, 2]
    assert not hasattr(caught.value, "__notes__")


@parallel
def test_further_failures_are_notes_of_the_first() -> None:
    together = threading.Barrier(3)

    async def main(index: int) -> None:
        together.wait()
        if index == 1:
            raise ZeroDivisionError
        try:
            await for_ever(index)
        finally:
            raise KeyError(index)

    with pytest.raises(ZeroDivisionError) as caught:
        yamanote.run_threads(main, 3)
    notes = "\n".join(caught.value.__notes__)
    assert len(caught.value.__notes__) == 2
    assert "KeyError: 0" in notes
    assert "KeyError: 2" in notes


@parallel
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_exit_of_one_ends_all(error: type[BaseException]) -> None:
    async def main(index: int) -> None:
        if index == 0:
            raise error
        await for_ever(index)

    with pytest.raises(error):
        yamanote.run_threads(main, 2)


@parallel
def test_what_does_not_end_is_named_with_where_it_is() -> None:
    over = threading.Event()
    blocked = threading.Event()
    entered = threading.Event()
    loops: dict[int, asyncio.AbstractEventLoop] = {}

    async def stubborn() -> None:
        entered.set()
        while not over.is_set():
            try:
                await for_ever(2)
            except asyncio.CancelledError:
                continue

    async def main(index: int) -> None:
        loops[index] = asyncio.get_running_loop()
        if index == 0:
            blocked.wait()
            entered.wait()
            raise ZeroDivisionError
        if index == 1:
            blocked.set() or over.wait()  # type: ignore[func-returns-value]
        if index == 2:
            await stubborn()

    before = set(threading.enumerate())
    with pytest.raises(TimeoutError) as caught:
        yamanote.run_threads(main, 3, grace=0.01)
    text = str(caught.value)
    assert text.startswith("main(1), main(2) did not end within 0.01 s after the cancellation\n")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    first, second = text.split("main(2):\n")
    assert "blocked.set() or over.wait()" in first
    assert "in stubborn" in second
    over.set()
    loops[2].call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks()])
    for thread in set(threading.enumerate()) - before:
        thread.join()


@parallel
def test_one_that_has_not_begun_never_does() -> None:
    """A cancellation reaches a thread whose loop does not run yet."""
    from yamanote._threads import _One  # pyright: ignore[reportPrivateUsage]

    begun: list[int] = []

    async def main(index: int) -> None:
        begun.append(index)

    one = _One(0)
    one.cancel()
    one.run(main)
    assert begun == []
    assert not one.has_failed()


INTERRUPTED = """
    import sys, threading, yamanote

    waiting = threading.Barrier(2, action=lambda: print("ready", flush=True))

    async def main(index):
        waiting.wait()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            # One write: without a GIL, the other thread's text may come between print()'s two.
            sys.stdout.write("cancelled\\n")

    try:
        yamanote.run_threads(main, 2)
    except KeyboardInterrupt as error:
        print("interrupted", getattr(error, "__notes__", None))
"""


@parallel
def test_ctrl_c_cancels_all(program: Program, loop_name: str) -> None:
    if loop_name != "yamanote":
        pytest.skip("run_threads() makes loops of ours")
    with program.start(INTERRUPTED) as child:
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate()
    assert output == "cancelled\ncancelled\ninterrupted None\n"
    assert (child.returncode, errors) == (0, "")


STUCK = """
    import threading, yamanote

    is_stuck = threading.Event()

    async def main(index):
        if index:
            is_stuck.set()
            threading.Event().wait()
        is_stuck.wait()
        raise ZeroDivisionError

    try:
        yamanote.run_threads(main, 2, grace=0.01)
    except TimeoutError as error:
        print(str(error).splitlines()[0])
"""


@parallel
def test_what_does_not_end_does_not_keep_the_process(program: Program, loop_name: str) -> None:
    if loop_name != "yamanote":
        pytest.skip("run_threads() makes loops of ours")
    done = program.run(STUCK)
    assert done.stdout == "main(1) did not end within 0.01 s after the cancellation\n"
    assert (done.returncode, done.stderr) == (0, "")


@parallel
def test_a_server_shared_by_all_loops() -> None:
    """The example of docs/threads.md, with a client on one of the loops."""
    import socket

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        left = threading.Semaphore(0)
        loops: list[asyncio.AbstractEventLoop] = []
        ends: list[asyncio.Event] = []

        async def main(index: int) -> int:
            if index == 0:
                for number in range(50):
                    reader, writer = await asyncio.open_connection(*address[:2])
                    writer.write(b"%d\n" % number)
                    assert await reader.readline() == b"%d\n" % number
                    writer.close()
                    await writer.wait_closed()
                for loop, end in zip(loops, ends, strict=True):
                    loop.call_soon_threadsafe(end.set)
                return 50
            end = asyncio.Event()
            loops.append(asyncio.get_running_loop())
            ends.append(end)
            server = await asyncio.start_server(answer, sock=listener.dup())
            left.release()
            await end.wait()
            server.close()
            return index

        async def first_waits(index: int) -> int:
            if index == 0:
                for _ in range(2):
                    await asyncio.to_thread(left.acquire)
            return await main(index)

        assert yamanote.run_threads(first_waits, 3) == [50, 1, 2]
