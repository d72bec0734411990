"""The pytest plugin, in projects of its own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent.parent

STRICT = """
[pytest]
filterwarnings = error
"""


def run(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    """Runs a project of one file in a process of its own; only our plugin is there."""
    pytester.makefile(".ini", pytest=STRICT)
    pytester.makepyfile(code)
    return pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:asyncio", *options)


def says(result: pytest.RunResult, *lines: str) -> None:
    """Checks that the output has these lines in this order."""
    result.stdout.fnmatch_lines(lines)


def test_a_test_runs_on_virtual_time(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest, yamanote.testing

        @pytest.mark.yamanote(virtual_time=True)
        async def test_it():
            assert isinstance(asyncio.get_running_loop(), yamanote.testing.VirtualLoop)
            await asyncio.sleep(3600)

        class TestIt:
            @pytest.mark.yamanote(virtual_time=True)
            @pytest.mark.parametrize("number", [1, 2])
            async def test_in_a_class(self, number, tmp_path):
                await asyncio.sleep(number * 3600)
                assert tmp_path.is_dir()
        """,
    )
    result.assert_outcomes(passed=3)


def test_a_test_that_does_not_ask_is_left_alone(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import sys

        def test_it():
            assert "yamanote" in sys.modules
        """,
    )
    result.assert_outcomes(passed=1)


def test_the_command_line_asks_for_all(pytester: pytest.Pytester) -> None:
    code = """
        import asyncio, yamanote

        async def test_it():
            assert isinstance(asyncio.get_running_loop(), yamanote.Loop)
        """
    run(pytester, code, "--yamanote").assert_outcomes(passed=1)


def test_fixtures_give_the_loop_and_its_clock(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest

        @pytest.mark.yamanote(virtual_time=True)
        async def test_asynchronous(yamanote_loop, yamanote_clock):
            assert asyncio.get_running_loop() is yamanote_loop
            await asyncio.sleep(3)
            assert yamanote_clock.time() == 3.0
            assert yamanote_clock.jumps.count == 1

        def test_synchronous(yamanote_loop, yamanote_clock):
            yamanote_loop.run_until_complete(asyncio.sleep(3))
            assert yamanote_clock.time() == 3.0

        @pytest.mark.yamanote
        async def test_real(yamanote_clock):
            pass
        """,
    )
    result.assert_outcomes(passed=2, errors=1)
    says(result, "*the test has a real clock: yamanote(virtual_time=True)")


def test_seeds_find_a_race_and_say_how_to_repeat_it(pytester: pytest.Pytester) -> None:
    code = f"""
        import asyncio, pytest, sys
        sys.path.insert(0, {str(ROOT)!r})
        from tests.testing.races import RACES

        @pytest.mark.yamanote(seeds=200)
        async def test_it():
            await RACES["lost_update"][0]()
        """
    result = run(pytester, code)
    result.assert_outcomes(failed=1)
    says(result, "*ScheduleError: fails with seed *", "*to repeat it: pytest --yamanote-schedule=*")
    says(result, "*deposit*goes on at *races.py:*: *")
    seed = result.stdout.str().partition("fails with seed ")[2].partition(":")[0]
    again = run(pytester, code, f"--yamanote-seed={seed}")
    again.assert_outcomes(failed=1)
    says(again, "*assert balance == 2*", f"*the order of tasks is that of --yamanote-seed={seed}")
    run(pytester, code.replace("[0]", "[1]")).assert_outcomes(passed=1)


NAMES = """
    import asyncio, pytest

    @pytest.mark.yamanote(seeds=200, leaks="error", cancel_points={cancel_points})
    @pytest.mark.parametrize("last", ["b"], ids=["it's {{}}"])
    async def test_names(last, tmp_path):
        names = []

        async def add(name):
            await asyncio.sleep(0)
            names.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(add(name))
        assert names[-1] == last, names

    @pytest.mark.yamanote(seeds=200)
    async def test_other():
        await asyncio.sleep(1)
    """


@pytest.mark.parametrize("cancel_points", [False, True])
def test_the_command_that_a_failure_names_repeats_it(
    pytester: pytest.Pytester, cancel_points: bool
) -> None:
    code = NAMES.format(cancel_points=cancel_points)
    result = run(pytester, code)
    result.assert_outcomes(failed=1, passed=1)
    command = result.stdout.str().partition("to repeat it: pytest ")[2].partition("\n")[0]
    again = run(pytester, code, *shlex.split(command))
    again.assert_outcomes(failed=1)  # The other test was not asked for.
    says(again, "*the order of tasks is that of --yamanote-schedule=*")
    says(again, "FAILED *test_names*it's {}*")


def test_a_schedule_of_another_program_diverges(pytester: pytest.Pytester) -> None:
    code = NAMES.format(cancel_points=False)
    result = run(pytester, code)
    command = result.stdout.str().partition("to repeat it: pytest ")[2].partition("\n")[0]
    run(pytester, code, shlex.split(command)[0], "-k", "test_other").assert_outcomes(failed=1)
    changed = code.replace('"ab"', '"abc"')
    says(run(pytester, changed, *shlex.split(command)), "*Diverged: *")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--yamanote-schedule=nothing",), "*not a schedule: 'nothing'"),
        (("--yamanote-schedule=1...0", "--yamanote-seed=1"), "*give a seed or a schedule*"),
    ],
)
def test_a_schedule_that_is_none_is_refused(
    pytester: pytest.Pytester, options: Sequence[str], said: str
) -> None:
    result = run(pytester, NAMES.format(cancel_points=False), *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_each_await_is_cancelled_in_turn(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest

        @pytest.mark.yamanote(seeds=0, cancel_points=True)
        async def test_it():
            lock = asyncio.Lock()

            async def work():
                await lock.acquire()
                await asyncio.sleep(1)
                lock.release()

            await asyncio.wait([asyncio.create_task(work())])
            async with lock:
                pass
        """,
    )
    result.assert_outcomes(failed=1)
    says(
        result,
        "*Deadlock: nothing can wake the event loop any more:",
        "*a task was cancelled at await number *",
    )


def test_what_is_left_behind_fails_the_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest, socket

        pytestmark = pytest.mark.yamanote(leaks="error")
        kept = []

        async def forever():
            await asyncio.Event().wait()

        async def test_task():
            kept.append(asyncio.create_task(forever(), name="left"))

        async def test_timer():
            asyncio.get_running_loop().call_later(3600, print)

        async def test_transport():
            ours, theirs = socket.socketpair()
            kept.append(theirs)
            kept.append(await asyncio.open_connection(sock=ours))

        async def test_generator():
            async def numbers():
                yield 1
                yield 2
            kept.append(numbers())
            await anext(kept[-1])

        async def test_clean():
            ours, theirs = socket.socketpair()
            reader, writer = await asyncio.open_connection(sock=ours)
            theirs.close()
            writer.close()
            async with asyncio.timeout(60):
                await asyncio.gather(asyncio.sleep(0), asyncio.to_thread(int))
        """,
        "-W",
        "ignore::ResourceWarning",
    )
    result.assert_outcomes(passed=1, failed=4)
    text = result.stdout.str()
    for left, line in (
        ("task left (forever), made at", 10),
        ("timer <TimerHandle", 13),
        ("transport <", 18),
        ("asynchronous generator test_generator.<locals>.numbers, at", 22),
    ):
        found = next(it for it in text.splitlines() if left in it)
        assert found.endswith(f".py:{line}"), found


@pytest.mark.parametrize("virtual_time", [True, False])
def test_a_blocking_call_fails_the_test(pytester: pytest.Pytester, virtual_time: bool) -> None:
    result = run(
        pytester,
        f"""
        import asyncio, pytest, time

        def slow():
            time.sleep(0.5)

        @pytest.mark.yamanote(virtual_time={virtual_time}, watch=0.1)
        async def test_it():
            await asyncio.sleep(0)
            slow()
            await asyncio.sleep(0)
        """,
    )
    result.assert_outcomes(failed=1)
    says(result, "*StallError: blocking for *", "*line 4, in slow*")


@pytest.mark.parametrize("virtual_time", [True, False])
def test_a_timeout_names_the_tasks(pytester: pytest.Pytester, virtual_time: bool) -> None:
    result = run(
        pytester,
        f"""
        import asyncio, pytest

        async def beat():
            while True:
                await asyncio.sleep(0.05)

        @pytest.mark.yamanote(virtual_time={virtual_time}, timeout=0.2)
        async def test_it():
            async with asyncio.TaskGroup() as group:
                group.create_task(beat(), name="beating")
        """,
    )
    result.assert_outcomes(failed=1)
    says(result, "*TimeoutError: *", "*beating: beat*")


def test_a_failure_shows_the_test_and_what_it_was_handling(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest

        @pytest.mark.yamanote
        async def test_it():
            try:
                raise ZeroDivisionError("first")
            except ZeroDivisionError:
                raise ValueError("second")
        """,
    )
    result.assert_outcomes(failed=1)
    says(
        result,
        "E *ZeroDivisionError: first",
        "During handling of the above exception, another exception occurred:",
        "E *ValueError: second",
    )
    result.stdout.no_fnmatch_line("*runners.py*")


def test_a_deadlock_ends_the_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest

        @pytest.mark.yamanote(virtual_time=True, timeout=5)
        async def test_it():
            await asyncio.Event().wait()
        """,
    )
    result.assert_outcomes(failed=1)
    says(result, "*Deadlock: nothing can wake the event loop any more:*", "*line 5, in test_it*")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("speed=1", "the marker yamanote has no 'speed'; it has virtual_time, seed, *"),
        ("1", "the marker yamanote takes keyword arguments only"),
        ("leaks='warn'", "leaks must be 'error' or 'ignore', not 'warn'"),
        ("seeds=2, strategy='best'", "strategy must be 'pct' or 'uniform', not 'best'"),
        ("seed=1, virtual_time=False", "seeds need virtual_time"),
        ("seed=1, seeds=2", "give one seed, or how many seeds"),
        ("cancel_points=True", "cancel_points go with seeds"),
    ],
)
def test_wrong_arguments_are_refused_before_any_test_runs(
    pytester: pytest.Pytester, arguments: str, complaint: str
) -> None:
    result = run(
        pytester,
        f"""
        import pytest

        @pytest.mark.yamanote({arguments})
        async def test_it():
            pass
        """,
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{complaint}"])


ASYNCIO = """
    import asyncio, pytest, pytest_asyncio, yamanote, yamanote.testing

    @pytest_asyncio.fixture
    async def loop_of_fixture():
        return asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_plain(loop_of_fixture):
        assert isinstance(loop_of_fixture, yamanote.Loop)
        assert asyncio.get_running_loop() is loop_of_fixture

    @pytest.mark.asyncio
    @pytest.mark.yamanote(virtual_time=True)
    async def test_virtual(loop_of_fixture):
        assert isinstance(loop_of_fixture, yamanote.testing.VirtualLoop)
        assert asyncio.get_running_loop() is loop_of_fixture
        await asyncio.sleep(3600)

    @pytest.mark.asyncio
    @pytest.mark.yamanote(leaks="error")
    async def test_leak(loop_of_fixture):
        loop_of_fixture.call_later(3600, print)
    """


def run_beside(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    """As `run`, with the other plugins."""
    ini = STRICT + "asyncio_default_fixture_loop_scope = function\n"
    pytester.makefile(".ini", pytest=ini)
    pytester.makepyfile(code)
    return pytester.runpytest_subprocess(*options)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio_runs_its_tests_and_fixtures_on_our_loops(
    pytester: pytest.Pytester, mode: str
) -> None:
    result = run_beside(pytester, ASYNCIO, "--yamanote", f"--asyncio-mode={mode}")
    result.assert_outcomes(passed=2, failed=1)
    says(result, "*LeakError: the test leaves 1 behind:")


def test_a_marked_test_of_pytest_asyncio_runs_on_our_loop(pytester: pytest.Pytester) -> None:
    result = run_beside(
        pytester,
        """
        import asyncio, pytest, yamanote, yamanote.testing

        @pytest.mark.asyncio
        async def test_theirs():
            assert not isinstance(asyncio.get_running_loop(), yamanote.Loop)

        @pytest.mark.asyncio
        @pytest.mark.yamanote(virtual_time=True)
        async def test_ours():
            await asyncio.sleep(3600)

        @pytest.mark.asyncio
        @pytest.mark.yamanote(seeds=3)
        async def test_seeds():
            assert isinstance(asyncio.get_running_loop(), yamanote.testing.VirtualLoop)
        """,
    )
    result.assert_outcomes(passed=3)


ANYIO = """
    import asyncio, pytest, yamanote, yamanote.testing

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.fixture
    async def loop_of_fixture(anyio_backend):
        return asyncio.get_running_loop()

    @pytest.mark.anyio
    async def test_plain(loop_of_fixture):
        assert isinstance(loop_of_fixture, yamanote.Loop)
        assert asyncio.get_running_loop() is loop_of_fixture

    @pytest.mark.anyio
    @pytest.mark.yamanote(virtual_time=True)
    async def test_virtual():
        import anyio
        await anyio.sleep(3600)
        assert isinstance(asyncio.get_running_loop(), yamanote.testing.VirtualLoop)
    """


def test_anyio_runs_its_tests_on_our_loops(pytester: pytest.Pytester) -> None:
    run_beside(pytester, ANYIO, "--yamanote").assert_outcomes(passed=2)


@pytest.mark.parametrize("options", [(), ("--yamanote",), ("--yamanote-seed=3",)])
def test_python_m_yamanote_runs_pytest_without_a_warning(
    pytester: pytest.Pytester, options: Sequence[str]
) -> None:
    pytester.makefile(".ini", pytest=STRICT)
    pytester.makepyfile("def test_it(): pass")
    command = [sys.executable, "-m", "yamanote", "-m", "pytest", "-W", "error", *options]
    command += ["-p", "no:asyncio"]
    result = pytester.run(*command)
    result.assert_outcomes(passed=1)
