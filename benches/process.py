"""A child process of a benchmark: its output lines, its CPU time, its memory."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

#: Seconds; more than any child needs to start or to respond.
PATIENCE_S = 30.0


class ProcessError(Exception):
    """A child failed; the message says which and why."""


class Process:
    """A child that communicates in lines and ends when its stdin is closed.

    A context manager: on exit the child has ended, by force if necessary.
    """

    def __init__(self, command: Sequence[str | Path]) -> None:
        """Start the child."""
        self.command = " ".join(part.name if isinstance(part, Path) else part for part in command)
        # A file, not a pipe: a child must not block on a full pipe of error messages.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in __exit__
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints
        )
        self._unread = b""

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the child: first by closing its stdin, then by force."""
        try:
            self._child.communicate(timeout=PATIENCE_S / 3)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
        finally:
            self._complaints.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def read_line(self, patience_s: float = PATIENCE_S) -> str:
        """Wait for the child's next line.

        Raises:
            ProcessError: it ended or timed out; the message includes its stderr.
        """
        assert self._child.stdout is not None
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._child.stdout], [], [], left)[0]:
                raise ProcessError(f"{self.command}: silent for {patience_s:.0f} s")
            piece = os.read(self._child.stdout.fileno(), 65536)
            if not piece:
                self._child.wait(PATIENCE_S)
                raise ProcessError(f"{self.command}: {self._last_words()}")
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def write_line(self, line: str) -> None:
        """Send the child a line.

        Raises:
            ProcessError: it has ended.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line.encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise ProcessError(f"{self.command}: {self._last_words()}") from None

    def finish(self) -> str:
        """Close the child's stdin, wait for it to exit, and return the rest of its output.

        Raises:
            ProcessError: it failed or did not end.
        """
        try:
            rest, _ = self._child.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.command}: did not end") from None
        if self._child.returncode != 0:
            raise ProcessError(f"{self.command}: {self._last_words()}")
        return (self._unread + rest).decode()

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all current and past threads of the child."""
        if sys.platform == "linux":
            # The clock of clock_getcpuclockid(3) for the process, with nanosecond resolution.
            return time.clock_gettime(~self.pid << 3 | 2)
        return clock_to_s(self._ps("time="))

    def rss_bytes(self) -> int:
        """Current resident memory."""
        if sys.platform == "linux":
            return self._status("VmRSS")
        return int(self._ps("rss=")) * 1024

    def peak_rss_bytes(self) -> int:
        """Peak resident memory; current resident memory if the system does not report a peak."""
        return self._status("VmHWM") if sys.platform == "linux" else self.rss_bytes()

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise ProcessError(f"{self.command}: is gone")

    def _ps(self, column: str) -> str:
        command = ["ps", "-o", column, "-p", str(self.pid)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if answer.returncode != 0:
            raise ProcessError(f"{self.command}: is gone")
        return answer.stdout.strip()

    def complaint(self) -> str:
        """Return the last line that the child has written to stderr; empty if there is none."""
        written = os.pread(self._complaints.fileno(), 1 << 20, 0).decode(errors="replace")
        return (written.strip().splitlines() or [""])[-1]

    def _last_words(self) -> str:
        return self.complaint() or f"ended with status {self._child.returncode}"


def clock_to_s(clock: str) -> float:
    """Read the `[[days-]hours:]minutes:seconds` that `ps` prints."""
    days, _, rest = clock.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + float(days or 0) * 86_400
