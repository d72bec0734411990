"""The file of counted instructions: how they were counted, and whether new ones are worse."""

from __future__ import annotations

import json
import os
import platform
import ssl
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import loops
import machine
from rows import BY_NAME, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The committed figures.
PATH = Path(__file__).with_name("instructions.json")

#: What valgrind shows to a program only if the processor has it; libc and OpenSSL choose their
#: code by it.
FEATURES = (
    *("pni", "ssse3", "cx16", "rdtscp", "abm", "avx", "avx2", "bmi1", "f16c", "rdrand", "rdseed"),
)


@dataclass
class Figures:
    """Instructions per operation, and what they depend on beside this repository."""

    counted_with: dict[str, str]
    loops: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    """Versions; our own commit."""
    rows: dict[str, dict[str, int]] = field(default_factory=dict[str, "dict[str, int]"])
    """By the row's and the loop's name."""

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Read a file.

        Raises:
            SystemExit: there is none.
        """
        if not path.exists():
            raise SystemExit(f"{path} does not exist")
        return cls(**cast("dict[str, dict[str, str]]", json.loads(path.read_text())))  # type: ignore[arg-type]

    def write(self, path: Path) -> None:
        """Write a file, its rows in the order of the table."""
        self.rows = {row.name: self.rows[row.name] for row in ROWS if row.name in self.rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def add(self, loop: str, instructions: dict[str, float]) -> None:
        """Add one loop's rows."""
        self.loops[loop] = machine.commit() if loop == loops.OURS else machine.version(loop)
        for row, count in instructions.items():
            self.rows.setdefault(row, {})[loop] = round(count)

    def lower(self, again: Figures) -> None:
        """Keep the lower of two figures of each row."""
        for row, by_loop in again.rows.items():
            known = self.rows.setdefault(row, {})
            for loop, figure in by_loop.items():
                known[loop] = min(figure, known.get(loop, figure))

    def update(self, new: Figures) -> None:
        """Take over what was counted anew.

        Raises:
            SystemExit: it was counted differently, and would be mixed with old figures of ours.
        """
        ours = {row for row, by_loop in self.rows.items() if loops.OURS in by_loop}
        renewed = {row for row, by_loop in new.rows.items() if loops.OURS in by_loop}
        if difference(self, new) and not ours <= renewed:
            raise SystemExit(
                f"{difference(self, new)}: count all rows of {loops.OURS}, with make instructions"
            )
        self.counted_with = new.counted_with
        self.loops |= new.loops
        for row, by_loop in new.rows.items():
            self.rows.setdefault(row, {}).update(by_loop)


@dataclass(frozen=True)
class Verdict:
    """A row of ours against its committed figure."""

    row: str
    committed: int | None
    counted: int | None

    @property
    def passes(self) -> bool:
        """Whether the row is no worse than the bound allows; false if it cannot be compared."""
        if self.committed is None or self.counted is None:
            return False
        return self.counted <= self.committed * (1 + BY_NAME[self.row].within)

    def __str__(self) -> str:
        """Write one line."""
        if self.committed is None:
            return f"{self.row:20} FAILED: has no committed figure (make guard UPDATE=1)"
        if self.counted is None:
            return f"{self.row:20} FAILED: was not counted"
        change = self.counted / self.committed - 1
        word = "ok" if self.passes else f"WORSE: at most {BY_NAME[self.row].within:+.0%}"
        return f"{self.row:20} {self.committed:>9,} {self.counted:>9,} {change:>+8.2%}  {word}"


def judge(committed: Figures, new: Figures) -> Iterator[Verdict]:
    """Compare each guarded row of ours."""
    for row in ROWS:
        if row.guarded:
            yield Verdict(
                row.name,
                committed.rows.get(row.name, {}).get(loops.OURS),
                new.rows.get(row.name, {}).get(loops.OURS),
            )


def difference(committed: Figures, new: Figures) -> str | None:
    """Return in words what was different when both were counted; `None` if nothing was."""
    for name, before in committed.counted_with.items():
        now = new.counted_with.get(name)
        if now != before:
            return f"the committed figures were counted with {name} {before!r}, not {now!r}"
    return None


def counted_with() -> dict[str, str]:
    """Return what counts depend on here."""
    return {
        "python": sys.version,
        "libc": " ".join(platform.libc_ver()),
        "openssl": ssl.OPENSSL_VERSION,
        "rustc": said_by("rustc"),
        "valgrind": said_by("valgrind"),
        "processor": " ".join([platform.machine(), *features()]),
    }


def said_by(program: str) -> str:
    """Return the version that a program reports, or that there is none."""
    try:
        answer = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return f"no {program}"
    return answer.stdout.strip()


def features() -> list[str]:
    """Return the processor's features that matter."""
    if not os.path.exists("/proc/cpuinfo"):
        return []
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return [feature for feature in FEATURES if feature in flags]
