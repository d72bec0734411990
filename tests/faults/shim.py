"""Fault injection: a preloaded library in front of the C library, for child processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")

#: To be put at the top of a child's source: `fail("accept4=1@1-1")` then replaces the faults set
#: before, and `calls("accept4")` returns the number of calls since.
CONTROL = """
import ctypes, errno, os

def fail(*faults):
    text = ",".join(faults).encode()
    assert ctypes.CDLL(os.environ["LD_PRELOAD"]).faults_set(text) == len(faults), faults

def calls(name):
    return ctypes.CDLL(os.environ["LD_PRELOAD"]).faults_calls(name.encode())
"""


def fault(name: str, error: int, first: int = 1, last: int = 0) -> str:
    """Returns a fault: calls number `first` to `last` of a function fail with an `errno`.

    Args:
        name: the function of the C library, or the system call if it has no function.
        error: the number, from `errno`.
        first: the number of the first call that fails, from 1.
        last: the number of the last call that fails; 0 means all from `first` on.
    """
    return f"{name}={error}@{first}-{last}"


@dataclass(frozen=True)
class Faults:
    """Makes calls of a child process fail."""

    library: Path

    def environment(self, *faults: str) -> dict[str, str]:
        """Returns environment variables for a child in which these calls fail from the start."""
        return {"LD_PRELOAD": str(self.library), "FAULTS": ",".join(faults)}


def compiled(directory: Path) -> Path | str:
    """Compiles the library; returns its path, or why there is none."""
    if sys.platform != "linux":
        return "needs Linux's LD_PRELOAD"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "there is no C compiler to build the failing calls with"
    library = directory / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, check=False, text=True)
    if built.returncode != 0:
        return f"the failing calls do not compile here: {built.stderr}"
    return library


def build(directory: Path) -> Faults:
    """Compiles the library, or skips the test that uses it."""
    library = compiled(directory)
    if isinstance(library, str):
        pytest.skip(library)
    return Faults(library)
