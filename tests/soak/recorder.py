"""Records what a process holds and how late its loop is, as a table of figures."""

from __future__ import annotations

import asyncio
import csv
import time
import traceback
from collections import Counter
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

from tests.soak.resources import Resources

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds between two looks at how late the loop is.
TICK_S = 0.05
MOST_TEXTS = 50


@dataclass(frozen=True)
class Sample:
    """A line of the table. Times are in seconds, counts are since the start."""

    seconds: float
    rss_mib: float
    descriptors: int
    threads: int
    #: The latest that a timer of 50 ms was, since the sample before.
    lag_s: float
    rounds: int
    errors: int
    #: Refused descriptors during an episode without any.
    refused: int


class Recorder:
    """Counts rounds and errors of workloads, and takes samples."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.samples: list[Sample] = []
        self.rounds: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.texts: list[str] = []
        self.refused = 0
        #: Workloads begin no more rounds.
        self.is_over = False
        self._began = time.monotonic()
        self._lag = 0.0

    def failed(self, workload: str, error: BaseException | None, text: str = "") -> None:
        """Counts an error, and keeps its text if there are few so far."""
        self.errors[workload] += 1
        if len(self.texts) < MOST_TEXTS:
            told = "".join(traceback.format_exception(error)) if error else ""
            self.texts.append(f"{workload}: {text}\n{told}")

    def on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Is the loop's exception handler: whatever gets here is an error."""
        self.failed("loop", context.get("exception"), str(context.get("message")))

    async def measure_lag(self) -> None:
        """Compares, for ever, when a timer fires with when it should."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self._lag = max(self._lag, loop.time() - due)

    def sample(self) -> Sample:
        """Takes a sample."""
        now = Resources.now()
        taken = Sample(
            round(time.monotonic() - self._began, 1),
            round(now.resident_bytes / 2**20, 2),
            len(now.descriptors),
            now.threads,
            round(self._lag, 4),
            self.rounds.total(),
            self.errors.total(),
            self.refused,
        )
        self._lag = 0.0
        self.samples.append(taken)
        return taken

    def write(self, path: Path) -> None:
        """Writes the table as CSV."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Sample)])
            writer.writerows(astuple(sample) for sample in self.samples)

    def slope_mib_per_hour(self) -> float:
        """Returns how fast memory grew in the second half, as a line of least squares has it."""
        late = self.samples[len(self.samples) // 2 :]
        if len(late) < 3:
            return 0.0
        hours = [sample.seconds / 3600 for sample in late]
        middle = sum(hours) / len(hours)
        mean = sum(sample.rss_mib for sample in late) / len(late)
        spread = sum((hour - middle) ** 2 for hour in hours)
        together = sum(
            (hour - middle) * (sample.rss_mib - mean)
            for hour, sample in zip(hours, late, strict=True)
        )
        return together / spread
