"""The parent's side of a worker: starts it, sends it programs, and examines its death."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.fuzz.compare import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from tests.fuzz.program import Program

ROOT = Path(__file__).parent.parent.parent

#: The size of the kept tail of a dead worker's stderr: all stacks of a few threads.
MOST_WORDS = 20_000

#: A worker ends itself if a run hangs; its parent ends it this many seconds later.
GRACE_S = 20.0


@dataclass(frozen=True)
class Job:
    """The configuration that is the same for all programs."""

    #: The loop under test, in the format of `run.load()`.
    loop: str
    #: A directory with certificates, in which workers create their files.
    files: str
    #: Seconds after which a run counts as hung.
    patience_s: float = 20.0
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass
class Outcome:
    """The result of one program."""

    #: The seed, or another name of the program.
    name: str
    calls: int = 0
    failures: list[Failure] = field(default_factory=list[Failure])
    #: The loop that was running when the worker died, if it did.
    died_on: str = ""


class Child:
    """A worker process."""

    def __init__(self, job: Job) -> None:
        """Start it.

        Args:
            job: its configuration.
        """
        self._job = job
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close().
        self._said_before = 0
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.worker"],
            cwd=ROOT,
            env={**os.environ, "RUST_BACKTRACE": "0", "PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._say(asdict(job))

    def __enter__(self) -> Self:
        """Returns the worker, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the worker."""
        self.close()

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        # The death of a worker is noticed at the next read.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def run_seeds(self, first: int, last: int) -> Iterator[Outcome]:
        """Runs the programs of some seeds; if the worker dies, the last outcome says so."""
        self._say({"first": first, "last": last})
        yield from self._listen()

    def run_program(self, program: Program) -> Outcome:
        """Runs one program in a process that the worker forks, so that it survives a crash."""
        self._said_before = self._errors.seek(0, os.SEEK_END)
        self._say({"program": str(program)})
        return list(self._listen())[-1]

    def _listen(self) -> Iterator[Outcome]:
        assert self._process.stdout is not None
        running = Outcome("the start")
        for line in self._process.stdout:
            message = json.loads(line)
            if "begins" in message:
                running = Outcome(message["begins"], died_on=message["loop"])
            elif "ended" in message:
                found = [Failure(**failure) for failure in message["failures"]]
                yield Outcome(message["ended"], message["calls"], found)
                running = Outcome("the end", died_on=self._job.loop)
            elif "died" in message:
                running.failures.append(self._death(message["died"]))
                yield running
            else:
                return
        running.failures.append(self._death(self._process.wait(GRACE_S)))
        yield running

    def _death(self, code: int) -> Failure:
        """Returns why a process that ran programs has ended."""
        words = self.last_words()
        if code == 1 and "Timeout (" in words:
            return Failure("hang", "hang", words)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Failure("crash", f"{name}{place_of_death(words)}", f"{name}\n{words}")

    def last_words(self) -> str:
        """Returns what it has written to stderr."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._said_before, size - MOST_WORDS))
        return self._errors.read().decode(errors="replace")

    def close(self, *, at_once: bool = False) -> Failure | None:
        """Ends the worker, which must exit cleanly.

        Args:
            at_once: whether to interrupt a running program.

        Returns:
            What went wrong, if anything did.
        """
        if at_once:
            self._process.kill()
        elif self._process.poll() is None:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            deadline = time.monotonic() + self._job.patience_s
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGABRT)  # It then writes its stacks to stderr.
        code = self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        failure = None if code == 0 else self._death(code)
        self._errors.close()
        return failure


def place_of_death(words: str) -> str:
    """Returns where a dead worker was: the step, or the innermost line of Python."""
    for line in words.splitlines():
        if line.startswith("  File "):
            # Without quotes where a broken interpreter knows no name: `File ???`.
            place = line.partition('"')[2].partition('"')[0]
            return f" in {place if place.startswith('<') else line.strip()}"
    return ""
