"""Debug mode: what it detects and reports, and how it is enabled."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.clocks import FAKE_CLOCK_LOOPS
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clocks import FakeClockLoop
    from tests.programs import Program


@pytest.fixture
def clocked(loop_name: str) -> Iterator[FakeClockLoop]:
    """A loop in debug mode with its own clock, which callbacks advance."""
    instance = FAKE_CLOCK_LOOPS[loop_name]()
    instance.set_debug(True)
    yield instance
    instance.close()


# --- slow callbacks ---------------------------------------------------------------------------


def test_a_slow_callback_is_logged_with_its_name_and_place(
    clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def culprit() -> None:
        clocked.now += 2.5

    frame = inspect.currentframe()
    assert frame is not None
    line = frame.f_lineno + 1
    clocked.call_soon(culprit)
    run_one_turn(clocked)
    (record,) = caplog.records
    message = record.getMessage()
    assert record.name == "asyncio"
    assert record.levelname == "WARNING"
    assert message.startswith("Executing <Handle test_a_slow_callback")
    assert "culprit() at " in message
    assert f"created at {__file__}:{line}>" in message
    assert message.endswith(" took 2.500 seconds")


def test_a_slow_timer_is_logged(clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture) -> None:
    def culprit() -> None:
        clocked.now += 1

    clocked.call_later(0, culprit)
    run_one_turn(clocked)
    (record,) = caplog.records
    assert record.getMessage().startswith("Executing <TimerHandle when=1000.0 test_a_slow_timer")
    assert record.getMessage().endswith(" took 1.000 seconds")


def test_a_slow_step_of_a_task_is_logged_with_the_task(
    clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def culprit() -> None:
        await asyncio.sleep(0)
        clocked.now += 1
        await asyncio.sleep(0)

    clocked.run_until_complete(clocked.create_task(culprit(), name="the slow one"))
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("Executing <Task pending name='the slow one' coro=<")
    assert "culprit() running at " in message
    assert message.endswith(" took 1.000 seconds")


def test_a_slow_callback_that_cancelled_itself_is_still_named(
    clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    handles: list[asyncio.Handle] = []

    def culprit() -> None:
        handles[0].cancel()
        clocked.now += 1

    handles.append(clocked.call_soon(culprit))
    run_one_turn(clocked)
    (record,) = caplog.records
    assert "culprit()" in record.getMessage()


def test_slow_means_slow_callback_duration(
    clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def take(seconds: float) -> None:
        clocked.now += seconds

    assert clocked.slow_callback_duration == 0.1
    clocked.call_soon(take, 0.0625)
    run_one_turn(clocked)
    assert not caplog.records
    clocked.slow_callback_duration = 0.0625
    clocked.call_soon(take, 0.0625)
    run_one_turn(clocked)
    assert len(caplog.records) == 1


def test_a_slow_callback_that_raises_is_reported_and_logged(
    clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def culprit() -> None:
        clocked.now += 1
        raise ZeroDivisionError

    clocked.call_soon(culprit)
    run_one_turn(clocked)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_nothing_is_measured_outside_debug_mode(
    clocked: FakeClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def culprit() -> None:
        clocked.now += 60

    clocked.set_debug(False)
    clocked.call_soon(culprit)
    run_one_turn(clocked)
    assert not caplog.records


# --- the wrong thread -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_scheduling_from_another_thread_is_refused_while_the_loop_runs(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    schedule: Callable[..., object] = getattr(loop, method)
    arguments = (print,) if method == "call_soon" else (60, print)

    def elsewhere() -> None:
        with pytest.raises(RuntimeError) as caught:
            schedule(*arguments)
        messages.append(str(caught.value))
        loop.call_soon_threadsafe(messages.append, "threadsafe works")

    async def main() -> None:
        await loop.run_in_executor(None, elsewhere)

    messages: list[str] = []
    loop.set_debug(True)
    loop.run_until_complete(main())
    run_one_turn(loop)
    assert messages == [
        "Non-thread-safe operation invoked on an event loop other than the current one",
        "threadsafe works",
    ]


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_scheduling_from_any_thread_is_allowed_while_the_loop_is_stopped(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    ran: list[str] = []
    schedule: Callable[..., object] = getattr(loop, method)
    arguments = (ran.append, "ran") if method == "call_soon" else (0, ran.append, "ran")
    loop.set_debug(True)
    thread = threading.Thread(target=schedule, args=arguments)
    thread.start()
    thread.join()
    run_one_turn(loop)
    assert ran == ["ran"]


# --- coroutines instead of callbacks -----------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "before", "named"),
    [
        ("call_soon", (), "call_soon"),
        ("call_soon_threadsafe", (), "call_soon_threadsafe"),
        ("call_later", (0,), "call_at"),
        ("call_at", (0,), "call_at"),
    ],
)
def test_a_coroutine_is_no_callback(
    loop: asyncio.AbstractEventLoop, method: str, before: tuple[int, ...], named: str
) -> None:
    async def coroutine_function() -> None:
        """Is never run."""

    coroutine = coroutine_function()
    loop.set_debug(True)
    for thing in (coroutine_function, coroutine):
        with pytest.raises(TypeError) as caught:
            getattr(loop, method)(*before, thing)
        assert str(caught.value) == f"coroutines cannot be used with {named}()"
    coroutine.close()


# --- where things were created -----------------------------------------------------------------


def test_coroutines_remember_their_origin_while_a_debug_loop_runs(
    loop: asyncio.AbstractEventLoop,
) -> None:
    before = sys.get_coroutine_origin_tracking_depth()
    depths: list[int] = []
    loop.set_debug(True)
    loop.call_soon(lambda: depths.append(sys.get_coroutine_origin_tracking_depth()))
    run_one_turn(loop)
    assert depths[0] > before
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_origin_tracking_ends_when_an_exit_leaves_the_loop(
    loop: asyncio.AbstractEventLoop,
) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    before = sys.get_coroutine_origin_tracking_depth()
    loop.set_debug(True)
    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_debug_mode_can_be_switched_while_the_loop_runs(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def depth_after(debug: bool) -> int:
        loop.set_debug(debug)
        assert loop.get_debug() is debug
        # The mode is switched in a separate callback.
        await asyncio.sleep(0)
        return sys.get_coroutine_origin_tracking_depth()

    before = sys.get_coroutine_origin_tracking_depth()
    loop.set_debug(False)
    assert loop.run_until_complete(depth_after(debug=True)) > before
    assert sys.get_coroutine_origin_tracking_depth() == before
    assert loop.run_until_complete(depth_after(debug=False)) == before
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_a_report_made_by_a_callback_says_where_the_callback_was_queued(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def report() -> None:
        loop.call_exception_handler({"message": "from a callback"})

    loop.set_debug(True)
    loop.set_exception_handler(None)
    loop.call_soon(report)
    run_one_turn(loop)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("from a callback\nhandle_traceback: Handle created at ")
    assert message.endswith("loop.call_soon(report)")


def test_a_failing_callback_is_logged_with_where_it_was_queued(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.set_debug(True)
    loop.set_exception_handler(None)
    loop.call_soon(fail)
    run_one_turn(loop)
    (record,) = caplog.records
    assert "source_traceback: Object created at (most recent call last):" in record.getMessage()
    assert "loop.call_soon(fail)" in record.getMessage()


def test_closing_is_logged(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    shown = repr(loop)
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        loop.close()
        loop.close()
    assert caplog.text.count(f"Close {shown}") == 1


# --- how it is enabled --------------------------------------------------------------------------

SHOW_DEBUG = """
loop = new_event_loop()
print(loop.get_debug())
loop.close()
"""

SHOW_DEBUG_OF_RUN = """
async def main():
    return asyncio.get_running_loop().get_debug()

print(run(main()), run(main(), debug=True), run(main(), debug=False))
"""


@pytest.mark.parametrize(
    ("options", "variable", "debug"),
    [
        ((), "", False),
        (("-X", "dev"), "", True),
        ((), "1", True),
        (("-E",), "1", False),
    ],
)
@pytest.mark.slow
def test_the_environment_decides_about_debug_mode(
    program: Program, options: tuple[str, ...], variable: str, debug: bool
) -> None:
    if "-E" in options and os.environ.get("PYTHONPATH"):
        pytest.skip("-E would also hide the path of the package under test")
    environment = {"PYTHONASYNCIODEBUG": variable}
    child = program.run(SHOW_DEBUG + SHOW_DEBUG_OF_RUN, *options, env=environment)
    assert (child.stdout, child.stderr) == (f"{debug}\n{debug} True False\n", "")
