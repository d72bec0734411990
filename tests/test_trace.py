"""`yamanote.trace()`: what ran when, in a file that Perfetto can read."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import itertools
import os
import sys
import threading
import types
import weakref
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests import programs, traces
from tests.forks import in_child
from tests.turns import run_one_turn
from yamanote import _tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

HOST = "127.0.0.1"


@pytest.fixture
def loop() -> Iterator[yamanote.Loop]:
    """A stopped loop."""
    instance = yamanote.new_event_loop()
    yield instance
    instance.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file for a trace."""
    return tmp_path / "trace.json"


def noop() -> None:
    """Does nothing."""


class Method:
    """Has a method to call."""

    def method(self) -> None:
        """Does nothing."""

    def __call__(self) -> None:
        """Does nothing."""


class Nameless(Method):
    """Raises when asked for its name."""

    def __getattr__(self, name: str) -> object:
        """Raises."""
        raise ZeroDivisionError(name)


class Misnamed(Method):
    """Has a name that is no text."""

    def __init__(self) -> None:
        """Takes another name."""
        self.__qualname__: Any = 5  # pyright: ignore[reportIncompatibleVariableOverride]


class Renamed(Method):
    """Says how it is called."""

    def __init__(self) -> None:
        """Takes another name."""
        self.__qualname__ = "another"


class Generated(Coroutine[Any, Any, None]):
    """A coroutine of the program's own class."""

    def __init__(self) -> None:
        """Has not begun."""
        self._steps = iter(range(2))

    def send(self, value: object) -> Any:  # noqa: ANN401 - as its base.
        """Makes a step."""
        if next(self._steps, None) is None:
            raise StopIteration
        return None

    def throw(self, *_: Any) -> Any:  # noqa: ANN401 - as its base.
        """Ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends."""

    def __await__(self) -> Generator[Any, Any, None]:
        """Is awaited by no test."""
        raise NotImplementedError


def line_of(function: Callable[..., object]) -> str:
    """Returns where a function is defined."""
    code = function.__code__  # pyright: ignore[reportFunctionMemberAccess]
    return f"{code.co_filename}:{code.co_firstlineno}"


def test_callbacks_have_the_names_of_their_functions(loop: yamanote.Loop, path: Path) -> None:
    strange = types.FunctionType(noop.__code__, {})
    strange.__qualname__ = 'a "quoted"\n\udc80 \N{RAILWAY CAR}'
    deep = functools.partial(functools.partial(Method().method))
    callbacks: list[Callable[[], object]] = [noop, strange, Method().method, deep]
    callbacks += [Method(), Nameless(), Misnamed()]
    strings: list[str] = []
    with yamanote.trace(path) as trace:
        assert trace.path == str(path)
        for callback in callbacks:
            loop.call_soon(callback)
        loop.call_soon(len, ())
        loop.call_soon(Renamed())
        loop.call_soon(strings.append, "")
        loop.call_soon(noop).cancel()
        run_one_turn(loop)
    read = traces.read(path)
    (turn,) = read.tracks[threading.get_native_id()]
    assert (turn.name, turn.args) == ("turn", {"kind": "turn"})
    assert [each.name for each in turn.inside] == [
        "noop",
        strange.__qualname__,
        "Method.method",
        "Method.method",
        "Method",
        "Nameless",
        "Misnamed",
        "len",
        "another",
        "list.append",
    ]
    assert turn.inside[0].args == {"kind": "callback", "at": line_of(noop)}
    assert turn.inside[2].args == {"kind": "callback", "at": line_of(Method.method)}
    assert turn.inside[7].args == {"kind": "callback"}
    assert read.process == os.getpid()
    assert read.threads[threading.get_native_id()] == "MainThread"
    assert read.dropped == trace.dropped == 0


def test_steps_have_the_names_of_coroutines_and_tasks(loop: yamanote.Loop, path: Path) -> None:
    async def worker() -> None:
        await asyncio.sleep(0)
        await loop.create_future()

    class OwnTask(asyncio.Task[Any]):
        def get_name(self) -> str:
            raise ZeroDivisionError

    task = loop.create_task(worker(), name="first")
    own = OwnTask(worker(), loop=loop)
    generated: asyncio.Task[None] = asyncio.Task(Generated(), loop=loop, name="second")
    with yamanote.trace(path):
        for _ in range(3):
            run_one_turn(loop)
        for each in (task, own):
            each.cancel()
        run_one_turn(loop)
    assert generated.done()
    name = worker.__qualname__
    steps = [each for each in traces.read(path).named(name) if each.args["task"] == "first"]
    assert [each.args for each in steps] == [
        {"kind": "task", "at": line_of(worker), "task": "first"}
    ] * 3
    nameless = [each for each in traces.read(path).named(name) if each.args["task"] == ""]
    assert len(nameless) == 3
    assert [each.args["task"] for each in traces.read(path).named("Generated")] == ["second"] * 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no generators as coroutines")
def test_a_coroutine_made_of_a_generator_has_its_name(loop: yamanote.Loop, path: Path) -> None:
    @types.coroutine
    def old() -> Generator[None, None, None]:
        yield
        yield

    async def new() -> None:
        await old()

    eager = getattr(asyncio, "eager_task_factory", None)
    loop.set_task_factory(eager)
    with yamanote.trace(path):
        loop.call_soon(lambda: asyncio.ensure_future(new(), loop=loop))
        for _ in range(3):
            run_one_turn(loop)
    # The first step of an eager task is the caller's.
    assert len(traces.read(path).named(new.__qualname__)) == 2


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio refuses generators")
def test_a_task_of_a_generator_has_its_name(loop: yamanote.Loop, path: Path) -> None:
    def old() -> Generator[None, None, None]:
        yield

    task: Any = asyncio.Task(old(), loop=loop)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportUnknownVariableType, reportCallIssue]
    with yamanote.trace(path):
        run_one_turn(loop)
        run_one_turn(loop)
    assert task.done()
    steps = traces.read(path).named(old.__qualname__)
    assert [each.args["at"] for each in steps] == [line_of(old)] * 2


def test_a_transport_is_called_by_its_protocol(loop: yamanote.Loop, path: Path) -> None:
    lost = loop.create_future()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    async def main() -> None:
        server = await loop.create_server(Echo, HOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await lost
        server.close()

    with yamanote.trace(path):
        loop.run_until_complete(main())
    read, name = traces.read(path), Echo.__qualname__
    for kind in ("accept", "connection_made", "readable", "connection_lost"):
        found = read.named(f"{name}: {kind}")
        assert found, kind
        assert {each.args["kind"] for each in found} == {kind}
    assert read.named("StreamReaderProtocol: readable")


def test_waits_and_turns_follow_each_other(loop: yamanote.Loop, path: Path) -> None:
    with yamanote.trace(path):
        loop.run_until_complete(asyncio.sleep(0.02))
    read = traces.read(path)
    track = read.tracks[threading.get_native_id()]
    assert {each.name for each in track} == {"turn", "wait", "attach"}
    waits = read.named("wait")
    assert sum(each.ended - each.began for each in waits) > 15_000_000
    for before, after in itertools.pairwise(track):
        assert after.began >= before.ended
        if after.name in ("wait", "attach"):
            assert after.began == before.ended
    assert all(not each.inside for each in waits)
    assert loop.metrics().turns == len(read.named("turn"))


def test_collections_are_in_the_callbacks_that_cause_them(loop: yamanote.Loop, path: Path) -> None:
    with yamanote.trace(path):
        loop.call_soon(gc.collect)
        run_one_turn(loop)
    (collecting,) = traces.read(path).named("collect")
    (collection,) = collecting.inside
    assert collection.name == "gc"
    assert collection.args["generation"] == 2
    owners = [getattr(each, "__self__", None) for each in gc.callbacks]
    assert not any(isinstance(owner, yamanote.Trace) for owner in owners)


def test_a_stall_is_marked_while_a_trace_is_taken(loop: yamanote.Loop, path: Path) -> None:
    thread = threading.get_native_id()
    args: dict[str, object] = {"kind": "computing"}
    _tracing.note_stall(thread, "lost", args)
    with yamanote.trace(path):
        loop.call_soon(_tracing.note_stall, thread, "stall", args)
        run_one_turn(loop)
    read = traces.read(path)
    ((at, *rest),) = read.marks
    assert rest == [thread, "stall", args]
    (callback,) = read.named("note_stall")
    assert callback.began <= at <= callback.ended


def test_one_trace_is_taken_at_a_time(loop: yamanote.Loop, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    with yamanote.trace(path) as trace:
        with pytest.raises(RuntimeError, match="another trace is being taken"):
            yamanote.trace(other)
        assert not other.exists()
        loop.call_soon(noop)
        run_one_turn(loop)
        trace.close()
        trace.close()
        loop.call_soon(len, ())
        run_one_turn(loop)
        with yamanote.trace(other):
            run_one_turn(loop)
    assert traces.read(path).names() == {"turn", "noop"}
    assert traces.read(other).names() == {"turn"}


def test_the_last_events_are_kept_and_the_others_counted(loop: yamanote.Loop, path: Path) -> None:
    with yamanote.trace(path, events=10) as trace:
        for _ in range(50):
            loop.call_soon(noop)
        loop.call_soon(len, ())
        run_one_turn(loop)
        assert trace.dropped >= 40
    read = traces.read(path)
    assert read.dropped == trace.dropped == 42
    # The turn, which has not been dropped, is the last event.
    assert len(read.slices()) == 10
    assert read.names() == {"noop", "len", "turn"}


@pytest.mark.parametrize("events", [0, -1])
def test_no_event_is_too_few(path: Path, events: int) -> None:
    with pytest.raises(ValueError, match=f"events is {events}"):
        yamanote.trace(path, events=events)
    with pytest.raises(TypeError):
        yamanote.trace(path, events=1.5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        yamanote.trace(tmp_path / "missing" / "trace.json")
    with pytest.raises(IsADirectoryError):
        yamanote.trace(tmp_path)
    with yamanote.trace(tmp_path / "trace.json"):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_a_full_disk_is_an_error_of_close(loop: yamanote.Loop, path: Path) -> None:
    trace = yamanote.trace("/dev/full")
    loop.call_soon(noop)
    run_one_turn(loop)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        trace.close()
    trace.close()
    with yamanote.trace(path):
        run_one_turn(loop)
    assert traces.read(path).names() == {"turn"}


def test_it_begins_in_a_callback_and_ends_in_another(loop: yamanote.Loop, path: Path) -> None:
    started: list[yamanote.Trace] = []

    def begin() -> None:
        started.append(yamanote.trace(path))

    def end() -> None:
        started[0].close()

    for callback in (begin, noop, end, noop):
        loop.call_soon(callback)
    run_one_turn(loop)
    read = traces.read(path)
    (turn,) = read.tracks[threading.get_native_id()]
    # What was open when it ended, ends there.
    assert [each.name for each in turn.inside] == ["noop", end.__qualname__]
    assert turn.inside[-1].ended == turn.ended


def test_a_coroutine_may_trace_itself(loop: yamanote.Loop, path: Path) -> None:
    async def main() -> None:
        with yamanote.trace(path):
            await asyncio.sleep(0.001)
            loop.call_soon(noop)
            await asyncio.sleep(0)
            # The recorder of one trace does not take the end of another one's slice.
        with yamanote.trace(path):
            pass
        with yamanote.trace(path):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    read = traces.read(path)
    assert len(read.named(main.__qualname__)) == 1
    assert "noop" not in read.names()


def test_it_ends_on_another_thread_while_the_loop_runs(path: Path) -> None:
    ready, done = threading.Event(), threading.Event()

    def serve() -> None:
        loop = yamanote.new_event_loop()
        stop = loop.create_future()
        loop.call_soon(ready.set)

        def busy() -> None:
            if done.is_set():
                stop.set_result(None)
            else:
                loop.call_soon(busy)

        loop.call_soon(busy)
        loop.run_until_complete(stop)
        loop.close()

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    assert ready.wait(programs.PATIENCE_S)
    for _ in range(20):
        with yamanote.trace(path):
            for _ in range(100):
                noop()
        read = traces.read(path)
        assert {name.rpartition(".")[2] for name in read.names()} <= {"turn", "busy"}
        assert set(read.tracks) <= {thread.native_id}
    done.set()
    thread.join(programs.PATIENCE_S)


def test_it_ends_while_a_loop_waits(path: Path) -> None:
    loops: list[yamanote.Loop] = []
    ready = threading.Event()

    def serve() -> None:
        loop = yamanote.new_event_loop()
        loops.append(loop)
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.close()

    thread = threading.Thread(target=serve)
    with yamanote.trace(path):
        thread.start()
        assert ready.wait(programs.PATIENCE_S)
        while loops[0].metrics().idle == 0.0:
            os.sched_yield() if hasattr(os, "sched_yield") else None
    loops[0].call_soon_threadsafe(loops[0].stop)
    thread.join(programs.PATIENCE_S)
    read = traces.read(path)
    assert thread.native_id is not None
    assert read.tracks[thread.native_id][-1].name in ("wait", "attach")


def test_each_thread_has_a_track(path: Path) -> None:
    barrier = threading.Barrier(3)

    async def work() -> None:
        barrier.wait(programs.PATIENCE_S)
        for _ in range(200):
            await asyncio.sleep(0)

    threads = [
        threading.Thread(target=yamanote.run, args=(work(),), name=f"worker {number}")
        for number in range(3)
    ]
    with yamanote.trace(path):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(programs.PATIENCE_S)
    read = traces.read(path)
    for thread in threads:
        assert thread.native_id is not None
        assert read.threads[thread.native_id] == thread.name
        steps = [
            each
            for each in read.slices()
            if each.thread == thread.native_id and each.name == work.__qualname__
        ]
        assert len(steps) == 201


def test_a_loop_may_move_to_another_thread_and_be_closed(path: Path) -> None:
    loops = [yamanote.new_event_loop()]
    gone = weakref.ref(loops[0])

    def run() -> None:
        loops[0].call_soon(noop)
        run_one_turn(loops[0])

    with yamanote.trace(path):
        run()
        thread = threading.Thread(target=run, name="other")
        thread.start()
        thread.join(programs.PATIENCE_S)
        loops.pop().close()
        gc.collect()
        assert gone() is None
    read = traces.read(path)
    assert thread.native_id is not None
    assert {each.thread for each in read.named("noop")} == {
        threading.get_native_id(),
        thread.native_id,
    }
    assert read.threads[thread.native_id] == "other"


def test_of_many_loops_that_are_gone_the_last_events_are_kept(path: Path) -> None:
    def use(count: int) -> None:
        loop = yamanote.new_event_loop()
        for _ in range(count):
            loop.call_soon(noop)
        run_one_turn(loop)
        loop.close()

    with yamanote.trace(path, events=50) as trace:
        for _ in range(20):
            use(9)
            gc.collect()
    read = traces.read(path)
    kept = [each for each in read.slices() if each.name != "gc"]
    assert len(kept) + read.dropped == 20 * 10
    assert 50 <= len(kept) <= 60
    assert trace.dropped == read.dropped


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_ends_the_run_ends_its_slices(
    loop: yamanote.Loop, path: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        raise error

    class Exits(Method):
        def __getattr__(self, name: str) -> object:
            raise error

        def __call__(self) -> None:
            ran.append(1)

    ran: list[int] = []
    with yamanote.trace(path):
        loop.call_soon(fail)
        loop.call_soon(noop)
        with pytest.raises(error):
            loop.run_forever()
        run_one_turn(loop)
        # What raises when it is asked for its name, runs all the same.
        loop.call_soon(Exits())
        with pytest.raises(error):
            loop.run_forever()
    assert ran == [1]
    read = traces.read(path)
    (failed,), (after,) = read.named(fail.__qualname__), read.named("noop")
    assert failed.ended <= after.began
    first, second, _third = read.named("turn")
    assert (first.inside, second.inside) == ([failed], [after])


def test_debug_mode_and_a_trace_are_independent(
    loop: yamanote.Loop, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop.slow_callback_duration = 0.0
    with yamanote.trace(path):
        loop.set_debug(True)
        loop.call_soon(noop)
        run_one_turn(loop)
        loop.set_debug(False)
        loop.call_soon(len, ())
        run_one_turn(loop)
        loop.set_debug(True)
    loop.call_soon(noop)
    run_one_turn(loop)
    assert traces.read(path).names() == {"turn", "noop", "len"}
    assert sum("noop" in record.getMessage() for record in caplog.records) == 2
    assert not any("len" in record.getMessage() for record in caplog.records)


def test_what_ran_does_not_live_longer(loop: yamanote.Loop, path: Path) -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    future: asyncio.Future[None]
    dead: list[weakref.ref[Any]] = []
    with yamanote.trace(path):
        method = Method()
        task = loop.create_task(work())
        future = loop.create_future()
        for each in (method, task, future):
            dead.append(weakref.ref(each))
        loop.call_soon(method.method)
        loop.call_soon(method)
        loop.call_soon(future.set_result, None)
        loop.run_until_complete(task)
        del method, task, future, each
        gc.collect()
        assert [reference() for reference in dead] == [None] * 3


def test_names_are_held_only_as_long_as_events(loop: yamanote.Loop, path: Path) -> None:
    alive: weakref.WeakSet[types.CodeType] = weakref.WeakSet()
    count, kept = 20_000, 1_000
    code = noop.__code__
    with yamanote.trace(path, events=kept) as trace:
        for number in range(count):
            code = noop.__code__.replace(co_firstlineno=number + 1)
            alive.add(code)
            loop.call_soon(types.FunctionType(code, {}))
            if number % 100 == 0:
                run_one_turn(loop)
        run_one_turn(loop)
        gc.collect()
        assert len(alive) <= kept + 1
    code = noop.__code__
    gc.collect()
    assert len(alive) == 0
    places = [each.args["at"] for each in traces.read(path).named("noop")]
    assert places[-1].endswith(f":{count}")
    assert len(set(places)) == len(places)
    assert len(places) + trace.dropped >= count


def test_a_forked_child_leaves_the_file_to_its_parent(loop: yamanote.Loop, path: Path) -> None:
    said: list[str] = []

    def child() -> object:
        trace.close()
        loop.call_soon(len, ())
        other = path.with_name("child.json")
        with yamanote.trace(other):
            inner = yamanote.new_event_loop()
            inner.call_soon(len, ())
            run_one_turn(inner)
        return sorted(traces.read(other).names()), path.read_bytes()

    def fork() -> None:
        said.append(in_child(child))

    with yamanote.trace(path) as trace:
        loop.call_soon(fork)
        loop.call_soon(noop)
        run_one_turn(loop)
    assert said == ["(['len', 'turn'], b'')"]
    assert traces.read(path).names() == {"turn", "noop", fork.__qualname__}


def test_a_forked_child_knows_nothing_of_the_loops_of_other_threads(path: Path) -> None:
    loops: list[yamanote.Loop] = []
    ready = threading.Event()

    def serve() -> None:
        loops.append(yamanote.new_event_loop())
        loops[0].call_soon(ready.set)
        loops[0].run_forever()
        loops[0].close()

    def child() -> object:
        with yamanote.trace(path):
            pass
        return traces.read(path).names()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(programs.PATIENCE_S)
    try:
        assert in_child(child) == "set()"
    finally:
        loops[0].call_soon_threadsafe(loops[0].stop)
        thread.join(programs.PATIENCE_S)


PROGRAM = """
import asyncio, os, sys, threading
import yamanote

async def main():
    await asyncio.sleep(0)
"""


def run(
    path: Path, code: str, *, env: dict[str, str] | None = None, options: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Runs a program in the file's folder; returns its exit code and standard error."""
    environ = {**os.environ, **(env or {})}
    script = path.with_name("script.py")
    script.write_text(PROGRAM + code)
    child = programs.run_python(*options, str(script), cwd=path.parent, env=environ)
    return child.returncode, child.stderr


ENDS = {
    "an exception": ("yamanote.run(main()); 1 / 0", 1),
    "sys.exit": ("yamanote.run(main()); sys.exit(3)", 3),
    "a callback": (
        "loop = yamanote.new_event_loop(); loop.call_soon(loop.create_task, main());"
        "loop.call_later(0.001, sys.exit, 4); loop.run_forever()",
        4,
    ),
    "a daemon thread": (
        "begun = threading.Event()\n"
        "async def busy():\n"
        "    await main()\n"
        "    asyncio.create_task(main())\n"
        "    await asyncio.sleep(0)\n"
        "    begun.set()\n"
        "    while True:\n"
        "        await asyncio.sleep(0)\n"
        "threading.Thread(target=yamanote.run, args=(busy(),), daemon=True).start()\n"
        "begun.wait()",
        0,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", ["variable", "object"])
def test_the_file_is_complete_however_the_program_ends(path: Path, end: str, way: str) -> None:
    code, status = ENDS[end]
    if way == "object":
        ended, errors = run(path, f"yamanote.trace({path.name!r})\n{code}")
    else:
        ended, errors = run(path, code, env={"YAMANOTE_TRACE": path.name})
    assert ended == status, errors
    assert traces.read(path).named("main")


@pytest.mark.slow
def test_a_variable_that_cannot_be_used_is_warned_of(path: Path) -> None:
    ended, errors = run(path, "yamanote.run(main())", env={"YAMANOTE_TRACE": "missing/trace.json"})
    assert ended == 0
    assert "YAMANOTE_TRACE is ignored: [Errno 2] No such file" in errors


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_write_files_of_their_own(path: Path, method: str) -> None:
    code = f"""
def work():
    yamanote.run(main())

def idle():
    pass

if __name__ == "__main__":
    import multiprocessing
    context = multiprocessing.get_context("{method}")
    yamanote.run(main())
    children = [context.Process(target=target) for target in (work, idle)]
    for child in children:
        child.start()
        child.join()
    print(*(child.pid for child in children), file=sys.stderr)
"""
    ended, errors = run(path, code, env={"YAMANOTE_TRACE": path.name})
    assert ended == 0, errors
    worker, idle = errors.split()[-2:]
    assert traces.read(path).process not in (int(worker), int(idle))
    written = path.with_name(f"trace.{worker}.json")
    read = traces.read(written)
    assert read.process == int(worker)
    assert read.named("main")
    files = {each.name for each in path.parent.glob("*.json")}
    if method == "spawn":  # A forked one has the loop of its parent.
        assert files == {"trace.json", written.name}
    else:
        assert files <= {"trace.json", written.name, f"trace.{idle}.json"}


@pytest.mark.slow
def test_a_child_of_a_callback_writes_a_file_of_its_own(path: Path) -> None:
    code = """
loop = yamanote.new_event_loop()
def inside():
    pass
def fork():
    pid = os.fork()
    loop.call_soon(inside)
    if pid:
        os.waitpid(pid, 0)
        print(pid, file=sys.stderr)
loop.call_soon(fork)
loop.call_later(0.01, loop.stop)
loop.run_forever()
"""
    ended, errors = run(path, code, env={"YAMANOTE_TRACE": path.name})
    assert ended == 0, errors
    pid = int(errors.split()[-1])
    parent, child = traces.read(path), traces.read(path.with_name(f"trace.{pid}.json"))
    assert {"fork", "inside"} <= parent.names()
    assert "inside" in child.names()
    assert "fork" not in child.names()
    assert child.process == pid != parent.process


@pytest.mark.slow
@pytest.mark.parametrize("variable", [None, "other.json"])
def test_the_command_traces_a_program(path: Path, variable: str | None) -> None:
    env = {} if variable is None else {"YAMANOTE_TRACE": variable}
    options = ("-m", "yamanote", *([] if variable else ["--trace", path.name]))
    ended, errors = run(path, "asyncio.run(main())", env=env, options=options)
    assert (ended, errors) == (0, "")
    assert traces.read(path.with_name(variable or path.name)).named("main")
    assert len(list(path.parent.glob("*.json"))) == 1


@pytest.mark.slow
def test_runs_inside_runs_are_inside_their_callbacks(path: Path) -> None:
    pytest.importorskip("nest_asyncio2")
    code = f"""
import nest_asyncio2
nest_asyncio2.apply()
loop = yamanote.new_event_loop()
def outer():
    loop.run_until_complete(asyncio.sleep(0.002))
    loop.run_until_complete(main())
with yamanote.trace({path.name!r}):
    loop.call_soon(outer)
    loop.run_until_complete(asyncio.sleep(0.01))
"""
    ended, errors = run(path, code)
    assert ended == 0, errors
    read = traces.read(path)
    (outer,) = read.named("outer")
    assert {"turn", "wait", "main"} <= {each.name for each in outer.everything()}


@pytest.mark.slow
def test_a_trace_of_an_example_has_the_names_of_the_program(path: Path) -> None:
    example = Path(__file__).parent.parent / "examples" / "echo_server.py"
    env = {**os.environ, "YAMANOTE_TRACE": str(path)}
    child = programs.run_python(str(example), env=env)
    assert child.returncode == 0, child.stderr
    read = traces.read(path)
    assert {"main", "turn"} <= read.names()
    text = example.read_text()
    own = [each for each in read.slices() if str(example) in each.args.get("at", "")]
    assert own
    assert all(each.name.rpartition(".")[2] in text for each in own)
