"""Tries all points in several workers."""

from __future__ import annotations

import json
import math
import os
import queue
import random
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.calls import ERRORS, LASTING, name
from tests.faults.injections import IS_FRAGILE
from tests.faults.points import Point
from tests.faults.scenes import NAMES, OURS, OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

ROOT = Path(__file__).parent.parent.parent

#: Workers that share a series, each with every so-manieth point of it: a few series are long.
SHARES = 6

#: Passes of the loop between the beginning of a wait and its cancellation.
CANCELLED_AFTER = ("0", "1", "2")
ENDS = ("close", "abort", "stop", "interrupt", "fork")


@dataclass(frozen=True)
class Job:
    """What is the same for all tries."""

    #: The module with `new_event_loop`.
    loop: str
    #: A folder with certificates, in which scenarios make their files.
    files: str
    #: The preloaded library.
    library: Path
    #: Only every so-manieth point of a series is tried.
    every: int = 1
    #: Seconds after which no more tries begin.
    seconds: float = math.inf


class Child:
    """The parent's side of a worker."""

    def __init__(self, job: Job, *, cold: bool) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.worker"),
                *(job.loop, job.files, "cold" if cold else "warm"),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "LD_PRELOAD": str(job.library),
                "PYTHONHASHSEED": "0",
                "RUST_BACKTRACE": os.environ.get("RUST_BACKTRACE", "0"),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Returns the worker, which ends with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, point: Point, *, probe: bool = False) -> dict[str, Any]:
        """Returns the verdict on a point, or with `probe` on no fault at all."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"point": str(point), "probe": probe}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker has ended at {point}")
        verdict: dict[str, Any] = json.loads(line)
        return verdict


@dataclass
class Finding:
    """A try that was not clean."""

    point: str
    unclean: list[str]
    words: str


@dataclass
class Figures:
    """Results of a scenario, and of one kind of fault."""

    tried: int = 0
    #: Numbers of tries by their outcomes, the unclean ones among them.
    outcomes: dict[str, int] = field(default_factory=dict[str, int])

    CLEAN = ("passed", "raised", "told")

    def add(self, outcome: str) -> None:
        """Counts a try."""
        self.tried += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def clean(self) -> int:
        """Returns the number of clean tries."""
        return sum(self.outcomes.get(outcome, 0) for outcome in self.CLEAN)


class Campaign:
    """All tries of some scenarios and kinds."""

    def __init__(self, job: Job, say: Callable[[str, Finding], None]) -> None:
        """Store what is the same for all.

        Args:
            job: the loop and what its tries need.
            say: called with each finding and its series, from several threads.
        """
        self._job = job
        self._say = say
        self._lock = threading.Lock()
        #: The first point of a series, and the share of it.
        self._series: queue.SimpleQueue[tuple[Point, int] | None] = queue.SimpleQueue()
        #: Keyed by scenario and kind.
        self.figures: dict[str, dict[str, Figures]] = {}
        self.findings: list[Finding] = []
        #: Scenarios that another loop does not pass without a fault either.
        self.left_out: list[str] = []
        self._errors: list[BaseException] = []
        self._deadline = math.inf

    def run(self, scenarios: list[str], kinds: list[str], jobs: int) -> None:
        """Tries all points."""
        self._deadline = time.monotonic() + self._job.seconds
        with Child(self._job, cold=False) as child:
            found = [
                (series, share)
                for scenario in scenarios
                for series in self._all_series(child, scenario, kinds)
                for share in range(SHARES)
            ]
        # A run that is too short for all has tried something of everything.
        random.Random(17).shuffle(found)
        for one in found:
            self._series.put(one)
        threads = [threading.Thread(target=self._work) for _ in range(jobs)]
        for thread in threads:
            self._series.put(None)
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def is_over(self) -> bool:
        """Whether the time for tries is over."""
        return time.monotonic() > self._deadline

    def _all_series(self, child: Child, scenario: str, kinds: list[str]) -> Iterator[Point]:
        """Returns the first point of each series; a series differs only in the number."""
        probe = child.run(Point(scenario, "call", "recv=EINTR", 0), probe=True)
        if probe["outcome"] != "passed":
            if self._job.loop == "yamanote":
                raise RuntimeError(f"{scenario} does not pass without a fault: {probe}")
            self.left_out.append(scenario)
            return
        for call in sorted(ERRORS) if "call" in kinds else ():
            if not probe["counts"].get(call):
                continue
            for error in ERRORS[call]:
                what = f"{call}={name(call, error)}"
                yield Point(scenario, "call", what, 1)
                if error in LASTING:
                    yield Point(scenario, "call", what, 1, lasts=True)
        # An extension's threads are made by its first future, and stay.
        for what in ("warm",) if scenario == "futures" else ("warm", "cold"):
            if "memory" in kinds:
                if not IS_FRAGILE:
                    yield Point(scenario, "memory", what, 1, lasts=True)
                yield Point(scenario, "memory", what, 1)
            if "reserve" in kinds:
                yield Point(scenario, "reserve", what, 1, lasts=True)
                yield Point(scenario, "reserve", what, 1)
        if scenario not in OUTSIDE:
            for kind, whats in (("cancel", CANCELLED_AFTER), ("end", ENDS)):
                for what in whats if kind in kinds else ():
                    yield Point(scenario, kind, what, 1)

    def _work(self) -> None:
        try:
            with Child(self._job, cold=False) as warm, Child(self._job, cold=True) as cold:
                while (one := self._series.get()) is not None:
                    if self.is_over():
                        continue
                    series, share = one
                    self._run_series(cold if series.what == "cold" else warm, series, share)
        except BaseException as error:
            self._errors.append(error)

    def _run_series(self, child: Child, series: Point, share: int) -> None:
        every = self._job.every
        at = 1 + zlib.crc32(str(series).encode()) % every + share * every
        while not self.is_over():
            point = series.later(at)
            verdict = child.run(point)
            if not verdict["struck"]:
                break  # There are no more such calls, allocations, waits or callbacks.
            self._count(point, verdict)
            at += SHARES * every

    def _count(self, point: Point, verdict: dict[str, Any]) -> None:
        with self._lock:
            kinds = self.figures.setdefault(point.scenario, {})
            outcome = verdict["outcome"]
            kinds.setdefault(point.kind, Figures()).add(outcome.split(" ")[0])
            if verdict["unclean"]:
                finding = Finding(str(point), verdict["unclean"], verdict.get("words", ""))
                self.findings.append(finding)
                self._say(str(point), finding)


def scenarios_of(loop: str) -> list[str]:
    """Returns the scenarios that a loop can run."""
    return [scenario for scenario in NAMES if loop == "yamanote" or scenario not in OURS]
