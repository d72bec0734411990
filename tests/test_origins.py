"""`origins`: reports name the line of the program that created a task or a handle."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

import yamanote
from tests.programs import Program, run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGGER = "asyncio"

#: What no stub describes.
Untyped: TypeAlias = Any


def here(before: int = 0) -> str:
    """Returns the caller's line, or one so many lines before it, as "file:line"."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{__file__}:{frame.f_back.f_lineno - before}"


@pytest.fixture
def loop() -> Iterator[yamanote.Loop]:
    loop = yamanote.new_event_loop(origins=1)
    yield loop
    loop.close()


def lines(handle: Untyped) -> list[str]:
    return [f"{frame.filename}:{frame.lineno}" for frame in handle._source_traceback]


def origin(task: asyncio.Task[Any]) -> str | None:
    return next(info.origin for info in yamanote.tasks() if info.task is task)


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def report(loop: yamanote.Loop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: found.append(context))
    return found


def test_each_kind_of_handle_names_the_line_that_created_it(loop: yamanote.Loop) -> None:
    makers: list[Callable[[], asyncio.Handle]] = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon(print, 1, 2, 3, 4, 5, 6),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(60, print),
        lambda: loop.call_at(60, print),
    ]
    first = here(6)
    file, _, line = first.rpartition(":")
    for number, make in enumerate(makers):
        handle = make()
        assert lines(handle) == [f"{file}:{int(line) + number}"]
        assert f" created at {file}:{int(line) + number}" in repr(handle)
        handle.cancel()


def test_a_handle_of_another_thread_names_the_line_of_that_thread(loop: yamanote.Loop) -> None:
    found: list[list[str]] = []

    def work() -> None:
        found.append([*lines(loop.call_soon_threadsafe(loop.stop)), here()])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    loop.run_forever()
    assert found[0][0] == found[0][1]


def test_without_origins_a_handle_has_none() -> None:
    loop = yamanote.new_event_loop()
    handle: Any = loop.call_soon(print)
    assert handle._source_traceback is None
    loop.close()


def test_a_failed_callback_is_reported_with_its_origin(
    loop: yamanote.Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.call_soon(lambda: 1 / 0)
    created = here(1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    (record,) = (it for it in caplog.records if "Exception in callback" in it.getMessage())
    file, _, line = created.rpartition(":")
    text = record.getMessage()
    assert "Object created at (most recent call last):" in text
    assert f'File "{file}", line {line}, in test_a_failed' in text
    assert "loop.call_soon(lambda: 1 / 0)" in text


def test_a_lost_exception_is_reported_with_the_origin_of_its_task(loop: yamanote.Loop) -> None:
    reported = report(loop)

    async def fails() -> None:
        raise ZeroDivisionError

    async def main() -> str:
        task = asyncio.create_task(fails())
        created = here(1)
        await asyncio.wait([task])
        return created

    created = loop.run_until_complete(main())
    gc.collect()
    (context,) = reported
    assert context["message"] == "Task exception was never retrieved"
    assert f"{context['source_traceback'][-1].filename}:" in created
    assert created.endswith(f":{context['source_traceback'][-1].lineno}")


@pytest.mark.parametrize("debug", [False, True])
def test_a_lost_task_is_reported_with_its_origin(loop: yamanote.Loop, debug: bool) -> None:
    reported = report(loop)
    loop.set_debug(debug)

    async def waits() -> None:
        await asyncio.Future()

    async def main() -> str:
        asyncio.create_task(waits())  # noqa: RUF006 - It is lost on purpose.
        created = here(1)
        await asyncio.sleep(0)
        return created

    created = loop.run_until_complete(main())
    gc.collect()
    (context,) = reported
    assert context["message"] == "Task was destroyed but it is pending!"
    stack = context["source_traceback"]
    # In debug mode, it is the whole stack, up to asyncio's own `create_task`.
    assert (len(stack) > 3) is debug
    assert created in [f"{frame.filename}:{frame.lineno}" for frame in stack]


def test_tasks_of_asyncios_helpers_name_the_line_of_the_program(loop: yamanote.Loop) -> None:
    async def main() -> None:
        mine = asyncio.current_task()
        assert mine is not None
        assert origin(mine) == started
        async with asyncio.TaskGroup() as group:
            first = group.create_task(for_ever())
            assert origin(first) == here(1)
            gathered = asyncio.gather(for_ever())
            created = here(1)
            (second,) = asyncio.all_tasks() - {mine, first}
            assert origin(second) == created
            gathered.cancel()
            first.cancel()

    started = here(-1)
    loop.run_until_complete(main())


def test_a_task_that_a_server_starts_names_the_line_of_asyncio(loop: yamanote.Loop) -> None:
    found: list[str | None] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        found.append(origin(task))
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await reader.read()
            writer.close()

    loop.run_until_complete(main())
    assert found[0] is not None
    assert found[0].startswith(asyncio.streams.__file__)


def test_more_lines_are_the_innermost_ones_of_the_program(loop: yamanote.Loop) -> None:
    loop.close()
    loop = yamanote.new_event_loop(origins=2)

    def outer() -> asyncio.Handle:
        return inner()

    def inner() -> asyncio.Handle:
        return loop.call_soon(print)

    handle: Any = outer()
    assert [frame.name for frame in handle._source_traceback] == ["outer", "inner"]
    assert [frame.line for frame in handle._source_traceback] == [
        "return inner()",
        "return loop.call_soon(print)",
    ]

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(for_ever())
            assert origin(task) == here(1)
            task.cancel()

    # What has called the loop has not created what its callbacks create.
    loop.run_until_complete(main())
    loop.close()


def test_what_called_the_loop_is_no_origin() -> None:
    loop = yamanote.new_event_loop(origins=100)
    found: list[Any] = []
    loop.call_soon(lambda: found.append(loop.call_soon(print)))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [frame.name for frame in found[0]._source_traceback] == ["<lambda>"]
    loop.close()


def test_debug_mode_remembers_the_whole_stack(loop: yamanote.Loop) -> None:
    loop.set_debug(True)
    handle: Any = loop.call_soon(print)
    assert len(handle._source_traceback) > 3
    loop.set_debug(False)
    handle = loop.call_soon(print)
    assert lines(handle) == [here(1)]
    loop._remember_origins(0, ())
    handle = loop.call_soon(print)
    assert handle._source_traceback is None


def test_a_slow_step_names_where_its_task_was_created(
    loop: yamanote.Loop, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow() -> None:
        pass

    task = loop.create_task(slow())
    created = here(1)
    loop.slow_callback_duration = 0
    loop.set_debug(True)
    with caplog.at_level(logging.WARNING, LOGGER):
        loop.run_until_complete(task)
    (message, *_) = [
        record.getMessage() for record in caplog.records if "slow()" in record.getMessage()
    ]
    assert f"created at {created} took" in message


def test_tasks_that_are_kept_are_logged_with_their_origin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = yamanote.new_event_loop(keep_tasks=True, origins=1)
    loop.create_task(for_ever(), name="mine")
    created = here(1)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, LOGGER):
        warnings.simplefilter("ignore", RuntimeWarning)  # It was never awaited.
        loop.close()
        gc.collect()
    said = f"mine: for_ever, created at {created}"
    # Other tests' garbage may be collected here, and be logged.
    assert any(said in record.getMessage() for record in caplog.records)


def test_task_factories_are_no_hindrance(loop: yamanote.Loop) -> None:
    class Bare:
        __slots__ = ("loop",)

        def set_name(self, name: object) -> None:
            """Called by some versions of Python."""

    def bare(loop: asyncio.AbstractEventLoop, coroutine: Untyped, **_: object) -> Untyped:
        coroutine.close()
        return Bare()

    factory: Any = bare
    loop.set_task_factory(factory)
    assert isinstance(loop.create_task(for_ever()), Bare)

    def plain(loop: asyncio.AbstractEventLoop, coroutine: Untyped, **options: Untyped) -> Untyped:
        return asyncio.Task(coroutine, loop=loop, **options)

    async def main() -> None:
        task = asyncio.create_task(for_ever())
        assert origin(task) == here(1)
        task.cancel()

    factory = plain
    loop.set_task_factory(factory)
    loop.run_until_complete(main())


def test_nothing_of_the_frame_is_kept_alive(loop: yamanote.Loop) -> None:
    class Local:
        pass

    def make() -> tuple[asyncio.Handle, weakref.ref[Local]]:
        local = Local()
        return loop.call_soon(print), weakref.ref(local)

    handle, reference = make()
    assert reference() is None
    assert len(lines(handle)) == 1


def test_a_program_has_back_what_it_sets(loop: yamanote.Loop) -> None:
    handle: Any = loop.call_soon(print)
    for value in ((("file", 1, "name", None),), ["text"], None):
        handle._source_traceback = value
        assert handle._source_traceback is value


@pytest.mark.parametrize("make", [yamanote.new_event_loop, yamanote.run])
def test_the_number_of_lines_is_checked(make: Untyped) -> None:
    arguments = [] if make is yamanote.new_event_loop else [None]
    with pytest.raises(ValueError, match="origins must not be negative"):
        make(*arguments, origins=-1)
    with pytest.raises(TypeError):
        make(*arguments, origins="1")


def test_a_truth_counts_as_a_number_and_any_number_will_do() -> None:
    for origins, count in ((True, 1), (False, 0), (10**30, None)):
        loop = yamanote.new_event_loop(origins=origins)
        handle: Any = loop.call_soon(print)
        found = handle._source_traceback or ()
        assert count is None or len(found) == count
        loop.close()


def test_a_loop_factory_decides_for_itself() -> None:
    with pytest.raises(ValueError, match="origins is for the loop_factory to decide"):
        yamanote.run(None, loop_factory=yamanote.new_event_loop, origins=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


PROGRAM = """
async def main():
    handle = asyncio.get_running_loop().call_soon(print)
    print(handle._source_traceback and handle._source_traceback[-1].name)
    handle.cancel()

run(main())
"""


@pytest.mark.parametrize(
    ("value", "said"), [("1", "main"), ("", "None"), ("0", "None"), ("2", "main")]
)
def test_the_environment_switches_it_on(value: str, said: str) -> None:
    done = Program("yamanote").run(PROGRAM, env={"YAMANOTE_ORIGINS": value})
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_a_value_that_is_no_number_is_warned_of() -> None:
    done = Program("yamanote").run(PROGRAM, "-W", "default", env={"YAMANOTE_ORIGINS": "yes"})
    assert "YAMANOTE_ORIGINS is ignored: 'yes' is not a number of lines" in done.stderr


@pytest.mark.parametrize("option", ["--origins", "--origins=3"])
def test_the_command_switches_it_on(option: str) -> None:
    source = "import asyncio\nfrom asyncio import run\n" + PROGRAM
    done = run_python("-m", "yamanote", option, "-c", source)
    assert (done.stdout.strip(), done.stderr) == ("main", "")
