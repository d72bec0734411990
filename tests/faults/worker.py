"""A process that forks one child for each try, controlled by JSON lines.

usage: python -m tests.faults.worker LOOP FILES COLD
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import re
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.attempt import Attempt, Verdict
from tests.faults.injections import Reservations
from tests.faults.points import Point
from tests.faults.scenes import NAMES, OURS
from tests.processes import thread_count

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: Seconds after which a child counts as hung. A judged stall takes less.
PATIENCE_S = float(os.environ.get("FAULTS_PATIENCE_S", "20"))
#: The descriptor of this process's answers.
ANSWERS = 200

#: Words of a panic, or of an exception that C code lost or forged. `getpeercert()` of CPython's
#: `_ssl` forges one.
LAST_WORDS = re.compile(
    r"panicked at|Fatal Python error|SystemError(?!: <class 'ssl.SSLError'>)|PanicException|"
    r"without setting an exception"
)


def loop_of(module: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Returns the function of a module that makes loops."""
    make: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(module).new_event_loop
    return make


class Worker:
    """Runs tries, each in a forked child."""

    def __init__(self, module: str, files: Path, *, cold: bool) -> None:
        """Import all that a scenario imports, and play all of them unless `cold`."""
        self._make = loop_of(module)
        self._files = files
        self._names = [name for name in NAMES if module == "yamanote" or name not in OURS]
        if cold:
            self._import()
        else:
            self._play()
        Reservations.are_possible()  # So that no child looks for names of functions.
        # They were told to end. Those of an extension stay, and do not exist in a child.
        deadline = time.monotonic() + 1
        while thread_count(os.getpid()) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        gc.collect()
        gc.freeze()

    def _play(self) -> None:
        for name in self._names:
            self._attempt(Point(name, "call", "recv=EINTR", 0), probe=True)

    def _import(self) -> None:
        """Imports what scenarios import: CPython's imports do not survive a lack of memory."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            self._play()
            os.write(writing, json.dumps(sorted(sys.modules)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as names:
            for name in json.loads(names.read()):
                with contextlib.suppress(ImportError):  # Some exist only in other modules.
                    importlib.import_module(name)
        os.waitpid(child, 0)

    def _attempt(self, point: Point, *, probe: bool) -> Verdict:
        return Attempt(point, self._make, self._files, probe=probe).run()

    def run(self, point: Point, *, probe: bool) -> dict[str, Any]:
        """Returns the verdict of a child."""
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as said:
            pid = os.fork()
            if not pid:
                os.close(reading)
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                self._child(point, writing, probe=probe)
            os.close(writing)
            answer = _read(reading, pid)
            os.close(reading)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said.seek(0)
            words = said.read().decode(errors="replace")
        return _verdict(answer, status, words)

    def _child(self, point: Point, writing: int, *, probe: bool) -> None:
        try:
            faulthandler.enable()
            verdict = self._attempt(point, probe=probe)
            os.write(writing, json.dumps(asdict(verdict)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stderr.flush()
            finally:
                os._exit(0)


def _read(reading: int, pid: int) -> bytes:
    """Returns a child's answer; ends a child that hangs, with its stacks as last words."""
    deadline = time.monotonic() + PATIENCE_S
    answer = b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGABRT)
            return b'"hang"'
        part = os.read(reading, 65536)
        if not part:
            return answer
        answer += part


def _verdict(answer: bytes, status: int, words: str) -> dict[str, Any]:
    verdict: Any = json.loads(answer or b'"no answer"')
    if isinstance(verdict, str):
        what = verdict if status in (0, -signal.SIGABRT) and verdict == "hang" else ""
        if not what:
            what = (
                f"crash by {signal.Signals(-status).name}"
                if status < 0
                else "died without an answer"
            )
        verdict = asdict(Verdict(what, [what], struck=True))
    if match := LAST_WORDS.search(words):
        verdict["unclean"].append(f"said: {words[match.start() :][:300]}")
        verdict["outcome"] = verdict["unclean"][0].split(":")[0]
    # Where the first allocation failed, and what was said at the end.
    verdict["words"] = words if len(words) <= 6000 else f"{words[:2000]}\n[...]\n{words[-4000:]}"
    return dict(verdict)


def main() -> None:
    """Runs what the parent requests until the input ends."""
    module, files, cold = sys.argv[1:]
    os.dup2(1, ANSWERS)
    os.dup2(2, 1)
    # A child's fork warns, and a listening socket waits a second after EMFILE.
    warnings.simplefilter("ignore")
    constants: Any = importlib.import_module("asyncio.constants")
    constants.ACCEPT_RETRY_DELAY = 0.01
    importlib.import_module("linecache")
    importlib.import_module("tests.faults.scenes")
    worker = Worker(module, Path(files), cold=cold == "cold")
    for line in sys.stdin:
        job = json.loads(line)
        verdict = worker.run(Point.parse(job["point"]), probe=job["probe"])
        os.write(ANSWERS, json.dumps(verdict).encode() + b"\n")


if __name__ == "__main__":
    main()
