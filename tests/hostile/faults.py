"""Calls that fail on purpose: a library in front of the C library, for child processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("faults.c")

#: For the top of a child's source: `fail("accept4=1@1-1")` there replaces what was set before, and
#: `calls("accept4")` tells how often that was called since.
CONTROL = """
import ctypes, errno, os

def fail(*faults):
    text = ",".join(faults).encode()
    assert ctypes.CDLL(os.environ["LD_PRELOAD"]).faults_set(text) == len(faults), faults

def calls(name):
    return ctypes.CDLL(os.environ["LD_PRELOAD"]).faults_calls(name.encode())
"""


def fault(name: str, error: int, first: int = 1, last: int = 0) -> str:
    """The calls number `first` to `last` of a function fail with an `errno`.

    Args:
        name: the function of the C library; for those without one, the system call.
        error: the number, from `errno`.
        first: the first call that fails, from 1.
        last: the last one; 0 for all that follow.
    """
    return f"{name}={error}@{first}-{last}"


@dataclass(frozen=True)
class Faults:
    """Has calls of a child process fail."""

    library: Path

    def environment(self, *faults: str) -> dict[str, str]:
        """Variables for a child in which these fail, from its very beginning."""
        return {"LD_PRELOAD": str(self.library), "FAULTS": ",".join(faults)}


def build(directory: Path) -> Faults:
    """Compiles the library, or skips the test that asks for it."""
    if sys.platform != "linux":
        pytest.skip("a library is put in front of the C library by Linux's LD_PRELOAD")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler to build the failing calls with")
    library = directory / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, check=False, text=True)
    if built.returncode != 0:
        pytest.skip(f"the failing calls do not compile here: {built.stderr}")
    return Faults(library)
