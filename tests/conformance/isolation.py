"""Runs each test in a separate process, a few at a time.

The modules are imported once, and each test runs in a fork, which costs milliseconds. A test that
hangs is made to dump its stacks and is killed with all processes that it started.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import unittest
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from tests.conformance.binding import bind

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from tests.conformance.binding import LoopFactory

#: Seconds between the dump of a hanging test's stacks and its kill.
LAST_WORDS_S = 2.0


@dataclass(frozen=True)
class Job:
    """A test and the loop to run it on."""

    name: str
    case: unittest.TestCase
    factory: LoopFactory


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: `passed`, `failed`, `skipped`, or `unbound` if it created no loop."""

    job: Job
    status: str
    detail: str
    seconds: float


@dataclass
class _Running:
    job: Job
    pid: int
    output: IO[bytes]
    result: IO[bytes]
    room: tempfile.TemporaryDirectory[str]
    started: float = field(default_factory=time.monotonic)


def run_all(jobs: Iterable[Job], *, at_once: int, timeout_s: float) -> Iterator[Outcome]:
    """Yields outcomes as the tests end.

    Args:
        jobs: may grow during the iteration.
        at_once: the number of concurrent processes.
        timeout_s: seconds for one test, after which it has failed.
    """
    gc.collect()
    gc.freeze()  # Keeps the children's collectors from copying all shared pages.
    waiting = iter(jobs)
    running: dict[int, _Running] = {}
    with _child_exits() as exits:
        while True:
            while len(running) < at_once and (job := next(waiting, None)) is not None:
                child = _start(job, timeout_s)
                running[child.pid] = child
            if not running:
                return
            oldest = min(child.started for child in running.values())
            left = max(0.0, oldest + timeout_s + LAST_WORDS_S - time.monotonic())
            select.select([exits], [], [], left)
            with contextlib.suppress(BlockingIOError):
                exits.recv(4096)
            for child in list(running.values()):
                late = time.monotonic() >= child.started + timeout_s + LAST_WORDS_S
                if late:
                    os.killpg(child.pid, signal.SIGKILL)
                pid, code = os.waitpid(child.pid, 0 if late else os.WNOHANG)
                if pid:
                    del running[pid]
                    # Processes that the test left running are killed, too.
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    yield _finish(child, code, late=late)


@contextlib.contextmanager
def _child_exits() -> Generator[socket.socket, None, None]:
    """Returns a socket that becomes readable when a child has exited."""
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    ours.setblocking(False)
    with theirs, ours:
        before = signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(fd_before)
            signal.signal(signal.SIGCHLD, before)


def _start(job: Job, timeout_s: float) -> _Running:
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _finish
    result = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _finish
    # Some tests write to a file in the working directory whose name is unique only per our process.
    room = tempfile.TemporaryDirectory(prefix="conformance-")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(room.name)
            _child(job, timeout_s, output.fileno(), result.fileno())
        finally:
            os._exit(70)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)  # The child does this, too; one of them is first.
    return _Running(job, pid, output, result, room)


def _child(job: Job, timeout_s: float, output: int, result: int) -> None:
    """Runs the test and exits by `os._exit()`. Never returns."""
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable(2)
    faulthandler.dump_traceback_later(timeout_s, file=2)
    stand_in = bind(job.factory)
    suite = unittest.TestSuite([job.case])
    report = unittest.TextTestRunner(sys.stderr, verbosity=2).run(suite)
    if not report.wasSuccessful():
        status = "failed"
    elif report.skipped or report.expectedFailures:
        status = "skipped"
    else:
        status = "passed" if stand_in.count else "unbound"
    reasons = "; ".join(sorted({reason for _, reason in report.skipped}))
    answer = json.dumps({"status": status, "reasons": reasons or "expected by CPython to fail"})
    os.write(result, answer.encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _finish(child: _Running, code: int, *, late: bool) -> Outcome:
    with child.output, child.result, child.room:
        child.output.seek(0)
        output = child.output.read().decode(errors="replace")
        child.result.seek(0)
        answer = child.result.read()
    seconds = time.monotonic() - child.started
    if answer and not late:
        result = json.loads(answer)
        detail = result["reasons"] if result["status"] == "skipped" else output
        return Outcome(child.job, result["status"], detail, seconds)
    how = "hung" if late else f"ended with exit code {os.waitstatus_to_exitcode(code)}"
    return Outcome(child.job, "failed", f"{output}\nThe process {how}.", seconds)
