"""Counts the instructions of rows under callgrind: those of N operations and of 2N.

The difference, divided by N, is the cost of an operation without that of the start and the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import certificates
from rows import BY_NAME

COUNTED = Path(__file__).with_name("counted.py")

#: In the header of a dump: the name that `counted.py` gave it.
NAME = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


@dataclass
class Counts:
    """What was counted for one loop."""

    instructions: dict[str, float] = field(default_factory=dict[str, float])
    """Per operation, by the row's name."""
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """Why a row has no count."""

    def add(self, other: Counts) -> None:
        """Add the rows of another part."""
        self.instructions.update(other.instructions)
        self.failures.update(other.failures)


def count(loop_names: list[str], rows: list[str], jobs: int) -> dict[str, Counts]:
    """Count rows of loops, with up to `jobs` processes at a time."""
    parts = [(loop, part) for loop in loop_names for part in split(rows, jobs)]
    certificates.files()  # Before there are threads.
    counts = {loop: Counts() for loop in loop_names}
    with ThreadPoolExecutor(jobs) as pool:
        results = [(loop, pool.submit(count_part, loop, part)) for loop, part in parts]
        for loop, result in results:
            counts[loop].add(result.result())
    return counts


def split(rows: list[str], parts: int) -> list[list[str]]:
    """Split rows into parts of about the same size."""
    return [part for number in range(parts) if (part := rows[number::parts])]


def count_part(loop: str, rows: list[str]) -> Counts:
    """Count rows of one loop in one process."""
    with tempfile.TemporaryDirectory(prefix="yamanote-counts-") as folder:
        said = run(loop, rows, folder)
        dumps = read_dumps(folder)
    counts = Counts(failures=dict(line.split(": ", 1) for line in said if ": " in line))
    for row in rows:
        once, twice = dumps.get(f"{row} N"), dumps.get(f"{row} 2N")
        if row in counts.failures:
            continue
        if once is None or twice is None:
            counts.failures[row] = said[-1] if said else "was not counted"
        else:
            counts.instructions[row] = (twice - once) / BY_NAME[row].operations
    return counts


def profile(loop: str, row: str) -> str:
    """Return callgrind's table of the functions of a row, the most expensive first.

    Raises:
        SystemExit: the row cannot be counted on that loop.
    """
    with tempfile.TemporaryDirectory(prefix="yamanote-counts-") as folder:
        said = run(loop, [row], folder, "--once")
        for dump in Path(folder).iterdir():
            if name_of(dump.read_text(errors="replace")) == f"{row} N":
                command = ["callgrind_annotate", "--auto=no", "--threshold=95", str(dump)]
                answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                return answer.stdout
    raise SystemExit("\n".join(said) or f"{row} was not counted")


def run(loop: str, rows: list[str], folder: str, *options: str) -> list[str]:
    """Run `counted.py` under callgrind, which fills that folder, and return its output lines.

    Raises:
        SystemExit: there is no valgrind.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is missing")
    keys = certificates.files()
    command = [
        *(
            shutil.which("valgrind") or "valgrind",
            "--quiet",
            "--tool=callgrind",
            "--instr-atstart=no",
        ),
        *("--child-silent-after-fork=no", f"--callgrind-out-file={folder}/%p"),
        *(sys.executable, str(COUNTED), f"--loop={loop}", f"--rows={','.join(rows)}"),
        *(f"--key={keys.key}", f"--chain={keys.chain}", *options),
    ]
    # Hashes decide where keys collide, and the environment's size how the stack is aligned.
    ours = {name: value for name, value in os.environ.items() if name.startswith("YAMANOTE_")}
    environment = {"PYTHONHASHSEED": "0", **ours}
    with tempfile.TemporaryFile("w+") as output:
        subprocess.run(
            command, env=environment, check=False, stdout=output, stderr=subprocess.STDOUT
        )
        output.seek(0)
        return output.read().splitlines()


def read_dumps(folder: str) -> dict[str, int]:
    """Return the instructions of each dump by its name."""
    totals: dict[str, int] = {}
    for dump in Path(folder).iterdir():
        text = dump.read_text(errors="replace")
        name, total = name_of(text), TOTAL.search(text)
        if name and total:
            totals[name] = int(total[1])
    return totals


def name_of(dump: str) -> str | None:
    """Return the name in a dump's header."""
    found = NAME.search(dump)
    return found[1] if found else None
