"""The machine and software of a run, without names of persons, hosts or directories."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import loops

ROOT = Path(__file__).resolve().parent.parent


def facts(names: list[str]) -> dict[str, object]:
    """Describe the machine, the interpreter, the loops and the commit."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "system": platform.system(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "processor": processor(),
            "cores": os.cpu_count(),
        },
        "python": {
            "version": platform.python_version(),
            "compiler": platform.python_compiler(),
            "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
        },
        "loops": {name: version(name) for name in names},
    }


def version(loop: str) -> str | None:
    """Return a loop's version; that of asyncio is Python's."""
    try:
        return importlib.metadata.version(loop)
    except importlib.metadata.PackageNotFoundError:
        return platform.python_version() if loop in loops.NAMES else None


def commit() -> str | None:
    """Return the checked-out commit, with `+` if there are changes; `None` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def processor() -> str:
    """Return the processor's name as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


class Interference:
    """Measures interference by other load during a run, which distorts results on shared hosts."""

    def __init__(self) -> None:
        """Start the measurement."""
        self._start = self._ticks()

    def stolen(self) -> float | None:
        """The share of CPU time since the start that the hypervisor gave to other guests."""
        start, now = self._start, self._ticks()
        if start is None or now is None:
            return None
        spent = [after - before for before, after in zip(start, now, strict=True)]
        return spent[STEAL] / max(1, sum(spent))

    @staticmethod
    def _ticks() -> list[int] | None:
        try:
            first = Path("/proc/stat").read_text().splitlines()[0]
        except FileNotFoundError:
            return None
        return [int(field) for field in first.split()[1 : STEAL + 2]]


#: The eighth column of the first line of /proc/stat, see proc(5).
STEAL = 7
