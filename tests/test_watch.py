"""`watch()`: what stalls a loop is reported while it lasts, with its cause and its line."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.processes import LINUX, activity, thread_count, wait_until_idle
from tests.programs import PATIENCE_S, Program
from yamanote import Stall, _watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LINUX, reason="the kind of a stall is known on Linux only"),
]

program = Program("yamanote")

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
#: A free-threaded interpreter reads the stacks of other threads from 3.14 on.
HAS_STACKS = not FREE_THREADED or sys.version_info >= (3, 14)


class Stalls:
    """Collects stalls, as `on_stall`."""

    def __init__(self, kind: str = "", then: Callable[[], object] = lambda: None) -> None:
        """Call `then` whenever a stall of this kind lasts."""
        self.kind, self.then = kind, then
        self.seen: list[Stall] = []
        self.ended = threading.Event()

    def __call__(self, stall: Stall) -> None:
        """Collect a stall."""
        self.seen.append(stall)
        if stall.kind == self.kind and not stall.ended:
            self.then()
        if stall.ended:
            self.ended.set()

    def first(self) -> Stall:
        """The first stall of the kind, while it lasted."""
        return next(stall for stall in self.seen if stall.kind == self.kind and not stall.ended)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert vars(_watchdog)["_watchdog"] is None
    assert not vars(_watchdog)["_orders"]


def watched(stalls: Stalls, block: Callable[[], object], **options: Any) -> None:
    """Blocks a watched loop in a task, until `block` returns; waits until the end is told."""

    async def blocking_task() -> None:
        five_calls_deep(block, 5)

    async def main() -> None:
        with yamanote.watch(on_stall=stalls, threshold=0.1, repeat=0.1, **options):
            waiting = asyncio.create_task(waits_for(blocking_task()), name="who waits")
            await waiting
            await in_thread(stalls.ended.wait, PATIENCE_S)

    async def waits_for(coroutine: Coroutine[Any, Any, None]) -> None:
        await asyncio.create_task(coroutine, name="culprit")

    yamanote.run(main())


async def in_thread(function: Callable[..., object], *args: object) -> None:
    """Calls a function that waits, while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(None, function, *args)


def five_calls_deep(block: Callable[[], object], calls: int) -> None:
    """Calls itself, and at last `block`."""
    if calls:
        five_calls_deep(block, calls - 1)
    else:
        block()


def check_culprit(stall: Stall) -> None:
    """The stall names the task, who awaits it, and the line."""
    assert stall.task is not None
    assert (stall.task.name, stall.task.coroutine.split(".")[-1]) == ("culprit", "blocking_task")
    assert [task.get_name() for task in stall.awaited_by] == ["who waits"]
    if HAS_STACKS:
        assert stall.stack is not None
        names = [frame.name for frame in stall.stack]
        assert names[0] == "blocking_task"
        assert names.count("five_calls_deep") == 6
        assert stall.handle is not None
        assert stall.handle.startswith(f"blocking_task at {__file__}:")


def a_lock() -> tuple[Callable[[], object], Callable[[], object]]:
    """Blocks in a lock; the second function releases it."""
    lock = threading.Lock()
    lock.acquire()
    released = threading.Event()

    def release() -> None:
        if not released.is_set():
            released.set()
            lock.release()

    return lock.acquire, release


def a_socket() -> tuple[Callable[[], object], Callable[[], object]]:
    left, right = socket.socketpair()

    def receive() -> None:
        with left, right:
            left.recv(1)

    return receive, lambda: right.send(b"x")


def a_child() -> tuple[Callable[[], object], Callable[[], object]]:
    child = subprocess.Popen(["sleep", "60"])
    return child.wait, child.kill


def a_hot_loop() -> tuple[Callable[[], object], Callable[[], object]]:
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    return compute, stop.set


CULPRITS = {
    "lock": (a_lock, "blocking"),
    "socket": (a_socket, "blocking"),
    "child": (a_child, "blocking"),
    "computation": (a_hot_loop, "computing"),
}


@pytest.mark.parametrize("name", CULPRITS)
def test_the_culprit_is_named_while_it_blocks(name: str) -> None:
    make, kind = CULPRITS[name]
    block, unblock = make()
    # It goes on only when it is told, so it is told while it lasts.
    stalls = Stalls(kind, unblock)
    watched(stalls, block)
    check_culprit(stalls.first())
    # On a busy machine, the loop may stall again later.
    last = next(stall for stall in stalls.seen if stall.ended)
    assert last.duration >= stalls.first().duration >= 0.1
    assert last.task is not None
    assert last.task.name == "culprit"


def test_a_sleep_is_told_within_its_time() -> None:
    stalls = Stalls("blocking")
    watched(stalls, lambda: time.sleep(0.3))
    # On a machine without a processor for it, the kind may be another one.
    assert any(not stall.ended and stall.duration < 0.3 for stall in stalls.seen)
    last = next(stall for stall in stalls.seen if stall.ended)
    assert 0.25 < last.duration < 5.0


def test_code_in_c_that_keeps_the_gil_has_a_kind_and_a_duration() -> None:
    child = program.run("""
        import logging, re, sys, threading, time
        import yamanote

        ended = threading.Event()

        class Printer(logging.StreamHandler):
            def emit(self, record):
                super().emit(record)
                if record.stall.ended:
                    ended.set()

        logging.getLogger("yamanote").addHandler(Printer(sys.stderr))

        async def main():
            began, size = time.monotonic(), 18
            while time.monotonic() - began < 0.3:
                began, size = time.monotonic(), size + 1
                re.match("(a+)+b", size * "a")
            with yamanote.watch():
                await asyncio.sleep(0)
                re.match("(a+)+b", size * "a")
                await asyncio.get_running_loop().run_in_executor(None, ended.wait)

        run(main())
    """)
    assert child.returncode == 0, child.stderr
    if not FREE_THREADED:
        assert re.search(
            r"yamanote: the event loop of thread \d+ has stalled for 0\.\d+ s \(\w+\), which "
            "cannot be reported yet\n",
            child.stderr,
        )
    assert re.search(r"The event loop (was|has been) blocked for \d\.\d+ s: \w+", child.stderr)


@pytest.mark.skipif(FREE_THREADED, reason="has no GIL")
def test_a_loop_that_waits_for_the_gil_is_told_from_one_that_blocks() -> None:
    begin, stop = threading.Event(), threading.Event()
    stalls = Stalls("gil", stop.set)

    def hog() -> None:
        begin.wait()
        while not stop.is_set():
            pass

    # `start()` and `join()` block, so they are not watched.
    hogs = [threading.Thread(target=hog) for _ in range(12)]
    for thread in hogs:
        thread.start()

    async def main() -> None:
        with yamanote.watch(on_stall=stalls, threshold=0.05, repeat=0.05):
            begin.set()
            while not stop.is_set():  # noqa: ASYNC110 - it asks for the GIL again and again.
                await asyncio.sleep(0.001)

    yamanote.run(main())
    for thread in hogs:
        thread.join()
    assert not [stall for stall in stalls.seen if stall.kind == "blocking" and stall.stack]


def test_a_collection_is_told_from_a_computation() -> None:
    stop = threading.Event()
    stalls = Stalls("gc", stop.set)
    heap = [[[number]] for number in range(300_000)]

    def collect() -> None:
        while not stop.is_set():
            gc.collect()

    watched(stalls, collect)
    del heap
    assert stalls.first().gc >= 0.05


STARVED = """
import os, subprocess, sys, threading, time
import yamanote

cpu = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cpu})
HOG = (
    "import os, itertools; parent = os.getppid();"
    "all(os.getppid() == parent for _ in itertools.count())"
)
hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(3)]
os.nice(4)
stop = threading.Event()
kinds = []

def on_stall(stall):
    kinds.append((stall.kind, stall.stack and stall.cpu < stall.duration / 5 and str(stall)))
    if stall.kind == "no_cpu":
        stop.set()

async def main():
    with yamanote.watch(threshold=0.05, on_stall=on_stall):
        while not stop.is_set():
            end = time.thread_time() + 0.01
            while time.thread_time() < end:
                pass
            await asyncio.sleep(0.001)

try:
    run(main())
finally:
    for hog in hogs:
        hog.kill()
        hog.wait()
print([kind for kind in kinds if kind[0] in ("blocking", "computing") and kind[1]])
"""


def test_a_thread_without_a_processor_is_not_accused() -> None:
    done = program.run(STARVED)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_a_callback_without_a_task_is_named() -> None:
    lock, release = a_lock()
    stalls = Stalls("blocking", release)
    loop = yamanote.new_event_loop()

    def tick() -> None:
        lock()
        loop.run_in_executor(None, stalls.ended.wait).add_done_callback(lambda _: loop.stop())

    with yamanote.watch(loop, on_stall=stalls):
        loop.call_soon(tick)
        loop.run_forever()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    stall = stalls.first()
    assert stall.task is None
    assert stall.loop is loop
    if HAS_STACKS:
        assert stall.handle is not None
        assert re.match("tick at .*test_watch.py:", stall.handle)


def test_without_on_stall_the_logger_gets_a_record(caplog: pytest.LogCaptureFixture) -> None:
    lock, release = a_lock()

    ended = threading.Event()

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stall = vars(record)["stall"]
            if stall.ended:
                ended.set()
            elif stall.kind == "blocking":
                release()

    logger = logging.getLogger("yamanote")
    handler = Release()
    logger.addHandler(handler)

    async def culprit() -> None:
        lock()

    async def main() -> None:
        await asyncio.create_task(culprit(), name="named")
        await in_thread(ended.wait, PATIENCE_S)

    try:
        with yamanote.watch(), caplog.at_level("WARNING", "yamanote"):
            yamanote.run(main())
    finally:
        logger.removeHandler(handler)
    # Other tests' garbage may be logged meanwhile.
    records = [record for record in caplog.records if record.name == "yamanote"]
    told = [record for record in records if vars(record)["stall"].kind == "blocking"]
    text = told[0].getMessage()
    assert re.match(r"The event loop has been blocked for \d+\.\d+ s: ", text)
    assert "\n  in named: test_without_on_stall_the_logger_gets_a_record" in text
    assert "\n    awaited by Task-" in text
    if HAS_STACKS:
        assert "in culprit\n      lock()" in text
    ends = [record for record in records if vars(record)["stall"].ended]
    assert ends[0].getMessage().startswith("The event loop was blocked for ")


def test_an_error_in_on_stall_is_logged_and_the_watch_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock, release = a_lock()
    calls = 0
    ended = threading.Event()

    def fail(stall: Stall) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            release()
        if stall.ended:
            ended.set()
        raise RuntimeError(str(calls))

    async def main() -> None:
        with yamanote.watch(on_stall=fail, threshold=0.05, repeat=0.01):
            lock()
            await in_thread(ended.wait, PATIENCE_S)

    yamanote.run(main())
    records = [record for record in caplog.records if record.name == "yamanote"]
    assert [str(record.exc_info[1]) for record in records if record.exc_info][:2] == ["1", "2"]


def test_a_logging_handler_that_fails_does_not_end_the_watch(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    broken = Broken()
    logger = logging.getLogger("yamanote")
    logger.addHandler(broken)
    lock, release = a_lock()
    stalls = Stalls("blocking", release)

    async def main() -> None:
        # Both are told by one thread, that with the broken handler first.
        with yamanote.watch(threshold=0.05), yamanote.watch(threshold=0.06, on_stall=stalls):
            lock()
            await in_thread(stalls.ended.wait, PATIENCE_S)

    try:
        yamanote.run(main())
    finally:
        logger.removeHandler(broken)
    assert stalls.first().kind == "blocking"
    assert "OSError: disk full" in capfd.readouterr().err


def test_a_file_whose_name_ends_as_a_debuggers_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "webdb.py").write_text("def query(lock):\n    lock()\n")
    spec = importlib.util.spec_from_file_location("webdb", tmp_path / "webdb.py")
    assert spec is not None
    assert spec.loader is not None
    webdb: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(webdb)
    lock, release = a_lock()
    stalls = Stalls("blocking", release)
    watched(stalls, lambda: webdb.query(lock))
    check_culprit(stalls.first())


def test_a_watch_may_be_stopped_by_the_collector() -> None:
    class Server:
        def __init__(self) -> None:
            self.me = self
            self.watch = yamanote.watch()

        def __del__(self) -> None:
            self.watch.stop()

    before = gc.get_threshold()
    gc.set_threshold(20)
    try:
        # Without a GIL, what is garbage stays for long: each watch then knows each loop.
        for _ in range(200 if FREE_THREADED else 1_000):
            Server()
            yamanote.new_event_loop().close()
    finally:
        gc.set_threshold(*before)
        gc.collect()


COLLECTED = """
import gc, os, threading
import yamanote

class Slow:
    def __init__(self):
        self.me = self

    def __del__(self):
        collecting.set()
        forked.wait()

collecting, forked = threading.Event(), threading.Event()

def collect():
    Slow()
    gc.collect()

async def main():
    lock = threading.Lock()
    lock.acquire()
    told = threading.Event()

    def on_stall(stall):
        if stall.kind != "gc" and not told.is_set():
            told.set()
            lock.release()

    with yamanote.watch(on_stall=on_stall, repeat=0.05):
        lock.acquire()

watch = yamanote.watch()
thread = threading.Thread(target=collect)
thread.start()
collecting.wait()
child = os.fork()
if child == 0:
    run(main())
    os._exit(7)
forked.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_collection_of_the_parent_does_not_hide_what_blocks_its_child() -> None:
    done = program.run(COLLECTED, "-W", "ignore::DeprecationWarning")
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


FORKS_IN_REPORT = """
import os, threading
import yamanote

lock = threading.Lock()
lock.acquire()
forked = []

def on_stall(stall):
    if not forked:
        forked.append(True)
        child = os.fork()
        if child:
            forked.append(child)
            lock.release()

async def main():
    with yamanote.watch(on_stall=on_stall):
        lock.acquire()

run(main())
# The child has this thread only, and ends with it.
print(os.waitstatus_to_exitcode(os.waitpid(forked[1], 0)[1]))
"""


def test_a_child_that_a_report_forks_ends_with_the_report() -> None:
    done = program.run(FORKS_IN_REPORT, "-W", "ignore::DeprecationWarning")
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


def test_new_loops_are_watched_where_none_was_named() -> None:
    for _ in range(2):
        lock, release = a_lock()
        stalls = Stalls("blocking", release)

        async def main(lock: Callable[[], object], stalls: Stalls) -> None:
            lock()
            await in_thread(stalls.ended.wait, PATIENCE_S)

        with yamanote.watch(on_stall=stalls):
            # In a thread, too.
            thread = threading.Thread(target=lambda: yamanote.run(main(lock, stalls)))  # noqa: B023
            thread.start()
            thread.join()
        assert stalls.first().thread == thread.ident


def test_a_loop_moves_to_another_thread() -> None:
    loop = yamanote.new_event_loop()
    with_each: list[int] = []
    for _ in range(2):
        lock, release = a_lock()
        stalls = Stalls("blocking", release)

        async def main(lock: Callable[[], object], stalls: Stalls) -> None:
            lock()
            await in_thread(stalls.ended.wait, PATIENCE_S)

        with yamanote.watch(loop, on_stall=stalls):
            thread = threading.Thread(
                target=lambda: loop.run_until_complete(main(lock, stalls))  # noqa: B023
            )
            thread.start()
            thread.join()
        assert stalls.first().thread == thread.ident
        with_each.append(thread.ident or 0)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_what_was_stopped_reports_no_more() -> None:
    reported = Stalls()
    lock, release = a_lock()
    stalls = Stalls("blocking", release)

    async def main() -> None:
        ended = yamanote.watch(on_stall=reported)
        ended.stop()
        ended.stop()
        with yamanote.watch(on_stall=stalls):
            lock()
            await in_thread(stalls.ended.wait, PATIENCE_S)

    yamanote.run(main())
    assert not reported.seen


def test_bad_arguments() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(TypeError, match="a loop of yamanote is needed, not"):
        yamanote.watch(loop)
    loop.close()
    for threshold in (0, -1, 0.0009, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"threshold must be at least 0\.001 seconds"):
            yamanote.watch(threshold=threshold)
    for repeat in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="repeat must be more than 0"):
            yamanote.watch(repeat=repeat)
    not_callable: Any = 3
    with pytest.raises(TypeError, match="on_stall must be callable"):
        yamanote.watch(on_stall=not_callable)


IDLE = """
import yamanote

loop = new_event_loop()
watch = yamanote.watch()
loop.call_later(3600, print)
loop.call_soon(print, "ready")
loop.run_forever()
"""


def test_an_idle_watched_loop_has_no_wake_ups_and_one_thread_more() -> None:
    with program.start(IDLE, "-u") as child:
        wait_until_idle(child.pid, quiet_s=0.3)
        before = activity(child.pid)
        time.sleep(0.5)  # What is observed.
        assert activity(child.pid) == before
        assert thread_count(child.pid) == 2


STOPPED = """
import sys, threading
import yamanote

stalls = []

async def main():
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(
        target=lambda: (sys.stdin.readline(), loop.call_soon_threadsafe(event.set))).start()
    with yamanote.watch(threshold=0.4, on_stall=stalls.append):
        print("ready", flush=True)
        while not event.is_set():
            await asyncio.sleep(0)
    print([str(stall) for stall in stalls if stall.kind in ("blocking", "computing")])

run(main())
"""


def test_a_stopped_process_does_not_stall() -> None:
    with program.start(STOPPED, stdin=subprocess.PIPE) as child:
        for _ in range(3):
            os.kill(child.pid, signal.SIGSTOP)
            time.sleep(0.6)  # The process stands still for longer than the threshold.
            os.kill(child.pid, signal.SIGCONT)
        output, _ = child.communicate("go on\n", timeout=PATIENCE_S)
    assert output == "[]\n"


DEBUGGED = """
import pdb, sys
import yamanote

stalls = []

async def main():
    with yamanote.watch(threshold=0.1, on_stall=stalls.append):
        await asyncio.sleep(0)
        pdb.Pdb(stdin=sys.stdin, stdout=sys.stderr).set_trace()
        await asyncio.sleep(0.2)
    print(stalls)

print("ready", flush=True)
run(main())
"""


def test_a_person_at_the_debugger_is_no_stall() -> None:
    # Where the prompt goes depends on the version.
    with program.start(DEBUGGED, stdin=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        prompt = ""
        while not prompt.endswith("(Pdb) "):
            character = child.stdout.read(1)
            assert character, prompt
            prompt += character
        time.sleep(0.4)  # The person thinks for longer than the threshold.
        output, _ = child.communicate("continue\n", timeout=PATIENCE_S)
    assert output.splitlines()[-1].endswith("[]"), output


FORKS = """
import os, threading
import yamanote

def block_until_told(name):
    lock = threading.Lock()
    lock.acquire()
    told = threading.Event()

    def on_stall(stall):
        if stall.kind == "blocking" and not told.is_set():
            told.set()
            lock.release()

    return lock, on_stall

lock, on_stall = block_until_told("all")

async def main():
    with yamanote.watch(on_stall=lambda stall: on_stall(stall)):
        await asyncio.sleep(0)
        child = os.fork()
        lock.acquire()
        if child == 0:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

run(main())
"""


FORKS_BESIDE_A_LOOP = """
import os, threading
import yamanote

blocked, forked = threading.Event(), threading.Event()

async def block():
    blocked.set()
    forked.wait()

async def main(loops):
    lock = threading.Lock()
    lock.acquire()
    told = threading.Event()

    def on_stall(stall):
        loops.add(stall.loop)
        if stall.kind == "blocking" and stall.loop is loop and not told.is_set():
            told.set()
            lock.release()

    loop = asyncio.get_running_loop()
    watch.stop()
    with every_loop_watched(on_stall):
        lock.acquire()
        await asyncio.sleep(0)
    print(loops == {loop}, loop.metrics().busy > 0, other.metrics().busy < 30, flush=True)

def every_loop_watched(on_stall):
    return yamanote._watching.Watch(
        yamanote._watchdog.Order(None, 0.05, 0.05, on_stall))

other = new_event_loop()
watch = yamanote.watch(threshold=0.02, on_stall=lambda stall: None)
thread = threading.Thread(target=lambda: other.run_until_complete(block()))
thread.start()
blocked.wait()
child = os.fork()
if child == 0:
    run(main(set()))
    os._exit(7)
forked.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_loop_of_a_thread_that_a_child_has_not_does_not_stall_there() -> None:
    done = program.run(FORKS_BESIDE_A_LOOP, "-W", "ignore::DeprecationWarning")
    assert (done.stdout, done.returncode) == ("True True True\n7\n", 0), done.stderr


def test_a_forked_child_is_watched_too() -> None:
    # A process with threads is warned of when it forks.
    done = program.run(FORKS, "-W", "ignore::DeprecationWarning")
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


ENDS = """
import sys, threading, time
import yamanote

yamanote.watch(threshold=0.001)

async def main():
    for _ in range(20):
        time.sleep(0.003)
        await asyncio.sleep(0)

run(main())
threading.Thread(target=lambda: run(asyncio.sleep(3600)), daemon=True).start()
"""


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "threading.Thread(target=print).start()"])
def test_a_program_ends_while_it_is_watched(end: str) -> None:
    for _ in range(3):
        done = program.run(ENDS + end)
        assert done.returncode == 0, done.stderr


def test_the_environment_watches_every_loop() -> None:
    source = """
        import logging, threading

        lock = threading.Lock()
        lock.acquire()

        class Release(logging.Handler):
            def emit(self, record):
                if record.stall.kind == "blocking" and not record.stall.ended:
                    lock.release()

        async def main():
            lock.acquire()
            print("goes on")

        logging.getLogger("yamanote").addHandler(Release())
        run(main())
    """
    done = program.run(source, env={"YAMANOTE_WATCH": "0.05"})
    assert (done.stdout, done.returncode) == ("goes on\n", 0), done.stderr


def test_the_end_of_a_stall_is_told_at_the_end_of_the_program() -> None:
    source = """
        import time

        async def main():
            time.sleep(0.2)

        run(main())
    """
    done = program.run(source, env={"YAMANOTE_WATCH": "0.05"})
    assert re.search(r"The event loop was blocked for \d+\.\d+ s: ", done.stderr), done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("value", ["often", "0", "nan", "-1"])
def test_a_bad_variable_is_warned_of(value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import yamanote; yamanote.new_event_loop().close()"],
        env={**os.environ, "YAMANOTE_WATCH": value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RuntimeWarning: YAMANOTE_WATCH is ignored: " in done.stderr
    assert done.returncode == 0
