"""`YAMANOTE_DUMP_SIGNAL`: a signal prints what the loops of a process do, whatever they do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.programs import Program, run_python

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.programs import Child

PROGRAM = Program("yamanote")
HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
ENVIRONMENT = {"YAMANOTE_DUMP_SIGNAL": "SIGUSR1"}

# What the programs below have in common.
BEGIN = """
import ctypes, os, signal, sys, threading, time

async def for_ever():
    await asyncio.get_running_loop().create_future()

def ready():
    print("ready", flush=True)

def block_in_c():
    # No signal ends it: it waits for a lock that this thread has.
    mutex = ctypes.create_string_buffer(256)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    ready()
    lock(mutex)
"""


@contextmanager
def started(source: str) -> Generator[Child, None, None]:
    with PROGRAM.start(BEGIN + source, env=ENVIRONMENT, stdin=subprocess.PIPE) as child:
        yield child


def read(child: Child, last: str = "timer_lateness") -> str:
    """Returns what the child prints on its standard error, up to a line that begins so."""
    assert child.stderr is not None
    lines: list[str] = []
    while not lines or not lines[-1].strip().startswith(last):
        line = child.stderr.readline()
        assert line, "".join(lines)
        lines.append(line)
    return "".join(lines)


def dump(child: Child, last: str = "timer_lateness") -> str:
    child.send_signal(signal.SIGUSR1)
    return read(child, last)


BLOCKERS = {
    "sleep": "ready(); time.sleep(600)",
    "lock": "ready(); lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "hot": """
    ready()
    while True:
        pass
""",
    "C": "block_in_c()",
    # It ends with the test, which closes its input.
    "child": "ready(); import subprocess; subprocess.run(['cat'])",
}


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("blocker", list(BLOCKERS))
def test_a_loop_is_shown_while_it_is_blocked(blocker: str, where: str) -> None:
    source = f"""
def blocks():
    {BLOCKERS[blocker]}

async def main():
    task = asyncio.create_task(for_ever(), name="waiter")
    await asyncio.sleep(0)
    blocks()

if {where == "main"}:
    run(main())
else:
    thread = threading.Thread(target=run, args=(main(),), name="second", daemon=True)
    thread.start()
    thread.join()
"""
    with started(source) as child:
        for _ in range(3):
            said = dump(child)
            assert said.startswith(f"yamanote: SIGUSR1, process {child.pid}, 1 event loop\n")
            assert ("MainThread" if where == "main" else "second") in said
            while not HAS_GIL and ", in blocks\n" not in said:
                said = dump(child)  # It was read while the thread moved: only a part is certain.
            assert ", in blocks\n" in said
            if not HAS_GIL and "tasks cannot be read: one of them computes" in said:
                continue  # The running task is locked.
            assert "2 pending tasks\n" in said
            assert "waiter: for_ever\n" in said
            assert "waits for <Future pending" in said
        assert child.poll() is None


def test_a_loop_in_a_thread_is_shown_while_the_main_thread_is_blocked_in_c() -> None:
    source = """
begun = threading.Event()

async def main():
    begun.set()
    await for_ever()

threading.Thread(target=run, args=(main(),), name="second", daemon=True).start()
begun.wait()
block_in_c()
"""
    with started(source) as child:
        said = dump(child)
        assert ", second\n" in said
        assert "1 pending task\n" in said


def test_a_process_without_loops_says_so() -> None:
    with started("ready(); time.sleep(600)") as child:
        said = dump(child, "yamanote: ")
        assert said == f"yamanote: SIGUSR1, process {child.pid}, no event loops\n"


def test_it_works_when_the_package_is_imported_again() -> None:
    source = """
for name in [name for name in sys.modules if name.partition(".")[0] == "yamanote"]:
    del sys.modules[name]
import yamanote
ready()
time.sleep(600)
"""
    with started(source) as child:
        for _ in range(3):
            assert "no event loops" in dump(child, "yamanote: ")


def test_loops_that_do_not_run_are_shown_and_closed_ones_are_not() -> None:
    source = "idle = new_event_loop(); new_event_loop().close(); ready(); time.sleep(600)"
    with started(source) as child:
        said = dump(child)
        assert ", 1 event loop\n  loop 1\n    does not run\n    0 pending tasks\n" in said


def test_system_calls_are_restarted() -> None:
    source = """
buffer = ctypes.create_string_buffer(1)
ready()
# Not `os.read()`, which would try again by itself.
print(ctypes.CDLL(None).read(0, buffer, 1), flush=True)
"""
    with started(source) as child:
        for _ in range(5):
            dump(child, "yamanote: ")
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("x")
        child.stdin.flush()
        assert child.stdout.readline() == "1\n"


def test_a_handler_that_the_program_sets_has_the_signal() -> None:
    source = """
signal.signal(signal.SIGUSR1, lambda *_: print("mine", flush=True))
ready()
run(for_ever())
"""
    with started(source) as child:
        child.send_signal(signal.SIGUSR1)
        assert child.stdout is not None
        assert child.stdout.readline() == "mine\n"
        child.kill()
        assert child.communicate()[1] == ""


def test_a_handler_that_the_program_has_set_keeps_the_signal() -> None:
    source = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: print("mine"))
import yamanote
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = run_python("-c", source, env=ENVIRONMENT)
    assert done.stdout == "mine\n"
    assert "YAMANOTE_DUMP_SIGNAL is ignored: the program has a handler for SIGUSR1" in done.stderr


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("SIGFOO", "'SIGFOO' is not a signal"),
        ("0", "'0' is not a signal"),
        ("-1", "'-1' is not a signal"),
        ("9", "SIGKILL cannot be caught"),
        ("STOP", "SIGSTOP cannot be caught"),
        ("sigsegv", "SIGSEGV means that the program has crashed"),
        ("INT", "the program has a handler for SIGINT"),
    ],
)
def test_a_value_that_cannot_be_used_is_warned_of(value: str, reason: str) -> None:
    done = run_python("-c", "import yamanote", env={"YAMANOTE_DUMP_SIGNAL": value})
    assert f"RuntimeWarning: YAMANOTE_DUMP_SIGNAL is ignored: {reason}" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("value", [str(int(signal.SIGUSR1)), "usr1"])
def test_a_signal_may_be_given_by_number_or_short(value: str) -> None:
    environment = {"YAMANOTE_DUMP_SIGNAL": value}
    with PROGRAM.start(BEGIN + "ready(); time.sleep(600)", env=environment) as child:
        assert dump(child, "yamanote: ").startswith("yamanote: SIGUSR1, ")


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # The process has threads.

def tell(name):
    if name == "child":
        print("ready", os.getpid(), sep="\\n", flush=True)

def fork():
    return "parent" if os.fork() else "child"
"""

FORKS = {
    "goes on": """
loop = new_event_loop()
task = loop.create_task(for_ever(), name="child")
loop.call_soon(lambda: tell(fork()))
loop.run_forever()
""",
    "uses its loop": """
loop = new_event_loop()
name = fork()
task = loop.create_task(for_ever(), name=name)
loop.call_soon(tell, name)
loop.run_forever()
""",
    "makes a loop": """
async def main(name):
    task = asyncio.create_task(for_ever(), name=name)
    tell(name)
    await for_ever()

run(main(fork()))
""",
}


@pytest.mark.parametrize("way", list(FORKS))
def test_a_forked_child_shows_its_own_loops(way: str) -> None:
    with started(FORK + FORKS[way]) as child:
        assert child.stdout is not None
        forked = int(child.stdout.readline())
        try:
            for process, name in ((forked, "child"), (child.pid, "parent"), (forked, "child")):
                os.kill(process, signal.SIGUSR1)
                first = read(child, "yamanote: ")
                assert f", process {process}, " in first
                if "no event loop" in first:
                    continue  # The parent has not come so far.
                said = read(child)
                assert ", MainThread\n" in said or name == "parent"
                if name == "child" and way != "goes on":  # Since 3.14, asyncio forgets its tasks.
                    assert " child: for_ever" in said
        finally:
            os.kill(forked, signal.SIGKILL)


def test_signals_in_a_burst_count_once() -> None:
    source = """
import os, signal, threading
from yamanote._yamanote import _listen_for_signal, _wait_for_signal

_listen_for_signal(signal.SIGUSR1)
for _ in range(100):
    os.kill(os.getpid(), signal.SIGUSR1)
counted = threading.Semaphore(0)
count = []

def work():
    for _ in range(3):
        count.append(_wait_for_signal())
        counted.release()

thread = threading.Thread(target=work)
thread.start()
for expected in (1, 2, 3):
    counted.acquire()
    assert len(count) == expected, count
    if expected < 3:
        os.kill(os.getpid(), signal.SIGUSR1)
thread.join()
assert all(0 <= delay < 60 for delay in count), count
"""
    done = PROGRAM.run(source)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not HAS_GIL, reason="there is no GIL to keep")
def test_code_that_kept_the_gil_is_blamed() -> None:
    source = """
def keep():
    sleep = ctypes.PyDLL(None).usleep
    while True:
        sleep(400_000)

idle = new_event_loop()
threading.Thread(target=keep, daemon=True).start()
# Signals come to this thread, which they do not disturb.
block_in_c()
"""
    with started(source) as child:
        while "the interpreter was kept for 0." not in dump(child):
            pass  # The signal came when the thread had almost done.


def test_a_dump_is_one_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        source = BEGIN + "loop = new_event_loop(); ready(); time.sleep(600)"
        with PROGRAM.start(source, env=ENVIRONMENT, stderr=theirs.fileno()) as child:
            for _ in range(3):
                child.send_signal(signal.SIGUSR1)
                said = ours.recv(1 << 20).decode()
                assert said.startswith("yamanote: ")
                assert said.splitlines()[-1].strip().startswith("timer_lateness")


def test_a_signal_at_the_end_of_the_interpreter_does_no_harm() -> None:
    source = """
class Last:
    def __del__(self, ready=ready, sleep=time.sleep):
        ready()
        for _ in range(50):
            sleep(0.01)

last = Last()
"""
    with started(source) as child:
        while child.poll() is None:
            child.send_signal(signal.SIGUSR1)
        assert child.returncode == 0


def test_a_program_that_shows_rubbish_is_shown_nevertheless() -> None:
    source = """
class Rubbish(asyncio.Future):
    def __repr__(self):
        raise SystemExit

async def main():
    ready()
    await Rubbish()

run(main())
"""
    with started(source) as child:
        while "tasks cannot be read: SystemExit" not in dump(child):
            pass  # It has not come so far.
        assert ", 1 event loop" in dump(child)
