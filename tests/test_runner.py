"""`yamanote.run()`: does it do what `asyncio.run()` does, on yamanote's loop?"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import yamanote

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    Run = Callable[..., Any]


@pytest.fixture(params=["asyncio", "yamanote"])
def run(request: pytest.FixtureRequest) -> Run:
    """`asyncio.run` and `yamanote.run`."""
    runs: dict[str, Run] = {"asyncio": asyncio.run, "yamanote": yamanote.run}
    return runs[request.param]


async def answer() -> int:
    """A trivial main coroutine."""
    await asyncio.sleep(0)
    return 42


def test_run_returns_what_main_returns(run: Run) -> None:
    assert run(answer()) == 42


def test_run_raises_what_main_raises(run: Run) -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_run_cleans_up_and_lets_an_interruption_through(
    run: Run, interruption: type[BaseException]
) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        raise interruption

    with pytest.raises(interruption):
        run(main())
    assert loops[0].is_closed()


def test_run_uses_a_new_loop_and_closes_it(run: Run) -> None:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first, second = run(main()), run(main())
    assert first is not second
    assert first.is_closed()
    assert second.is_closed()
    assert isinstance(first, yamanote.Loop) == (run is yamanote.run)


@pytest.mark.parametrize("debug", [True, False])
def test_debug_is_handed_to_the_loop(run: Run, debug: bool) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=debug) is debug


def test_a_loop_factory_takes_the_place_of_ours() -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert [yamanote.run(main(), loop_factory=factory)] == made
    assert made[0].is_closed()


def test_what_is_left_running_is_cancelled_and_awaited(run: Run) -> None:
    ends: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            ends.append("background")

    async def main() -> None:
        tasks.append(asyncio.create_task(background()))
        await asyncio.sleep(0)
        ends.append("main")

    tasks: list[asyncio.Task[None]] = []
    run(main())
    assert ends == ["main", "background"]
    assert tasks[0].cancelled()


def test_an_error_during_the_cleanup_is_reported(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    async def main() -> int:
        tasks.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)
        return 42

    tasks: list[asyncio.Task[None]] = []
    with caplog.at_level(logging.ERROR, logger="asyncio"):
        assert run(main()) == 42
    (record,) = caplog.records
    assert "unhandled exception during asyncio.run() shutdown" in record.message
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_asynchronous_generators_are_finalized(run: Run) -> None:
    ends: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ends.append("numbers")

    async def main() -> None:
        generator = numbers()
        kept.append(generator)
        await anext(generator)

    kept: list[AsyncGenerator[int, None]] = []
    run(main())
    assert ends == ["numbers"]


def test_the_default_executor_is_waited_for(run: Run) -> None:
    worked = threading.Event()
    may_end = threading.Event()

    def work() -> None:
        assert may_end.wait(30)
        worked.set()

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)
        asyncio.get_running_loop().call_soon(may_end.set)

    run(main())
    assert worked.is_set()


def test_main_runs_in_a_copy_of_the_callers_context(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")

    async def main() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    assert run(main()) == "outside"
    assert variable.get() == "outside"


def test_run_refuses_to_nest(run: Run) -> None:
    async def main() -> None:
        inner = answer()
        try:
            run(inner)
        finally:
            inner.close()

    outer = main()
    with pytest.raises(RuntimeError) as refused:
        run(outer)
    assert str(refused.value) == "asyncio.run() cannot be called from a running event loop"


def test_what_is_not_a_coroutine_is_refused_as_by_asyncio() -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (its type is what is compared)
        asyncio.run(42)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(type(theirs.value)) as ours:
        yamanote.run(42)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert str(ours.value) == str(theirs.value)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio.run() takes coroutines only")
def test_any_awaitable_is_run(run: Run) -> None:
    class Awaitable:
        def __await__(self) -> Generator[Any, None, int]:
            return answer().__await__()

    assert run(Awaitable()) == 42


def test_new_event_loop_makes_a_loop_of_its_own() -> None:
    first, second = yamanote.new_event_loop(), yamanote.new_event_loop()
    try:
        assert first is not second
        assert type(first) is yamanote.Loop
    finally:
        first.close()
        second.close()


def test_asyncios_runner_takes_our_factory() -> None:
    with asyncio.Runner(loop_factory=yamanote.new_event_loop) as runner:
        assert runner.run(answer()) == 42
        assert isinstance(runner.get_loop(), yamanote.Loop)
