"""Plants mistakes in copies of the modelled files; each must make its model fail.

usage: python models/mistakes.py TARGET_DIRECTORY
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: The package of the copy: Cargo would take two with one name for the same.
NAME = "yamanote-planted"

#: Seconds for a model that a mistake makes endless; each passes in far fewer.
PATIENCE_S = 120


@dataclass(frozen=True)
class Mistake:
    """A text of a file, and the wrong one in its place."""

    model: str
    what: str
    file: str
    right: str
    wrong: str

    def plant(self, source: Path) -> str:
        """Returns the file with the mistake; raises ValueError where the text is not there once."""
        text = source.read_text()
        if text.count(self.right) != 1:
            message = f"{self.file}: not exactly once there: {self.right!r}"
            raise ValueError(message)
        return text.replace(self.right, self.wrong)


READY_LIST = "driver/ready_list.rs"
MAILBOX = "scheduler/mailbox.rs"
REMOTE = "scheduler/remote.rs"
SOURCES = "scheduler/sources.rs"
PHASES = "scheduler/phases.rs"
ALARM = "scheduler/alarm.rs"
ADMISSION = "scheduler/admission.rs"

MISTAKES = (
    Mistake(
        "wakes",
        "the push of a slot is relaxed",
        READY_LIST,
        "(Ordering::Release, Ordering::Relaxed)",
        "(Ordering::Relaxed, Ordering::Relaxed)",
    ),
    Mistake(
        "wakes",
        "the list is not checked before the wait",
        "driver/look.rs",
        " || !this.ready.is_empty()",
        "",
    ),
    Mistake(
        "wakes_of_two",
        "taking a slot is relaxed",
        READY_LIST,
        "self.bits.swap(0, Ordering::AcqRel)",
        "self.bits.swap(0, Ordering::Relaxed)",
    ),
    Mistake(
        "wakes_of_two",
        "a slot that was taken counts as queued for ever",
        READY_LIST,
        "self.bits.swap(0, Ordering::AcqRel)",
        "self.bits.swap(QUEUED, Ordering::AcqRel)",
    ),
    Mistake(
        "closing",
        "no fence between a push and the look at `closed`",
        READY_LIST,
        "            fence(Ordering::SeqCst);\n            if list.closed",
        "            if list.closed",
    ),
    Mistake(
        "closing",
        "no fence between `closed` and the last drain",
        READY_LIST,
        "        fence(Ordering::SeqCst);\n        self.drain(drop);",
        "        self.drain(drop);",
    ),
    Mistake(
        "closing",
        "who pushes does not look whether the list is closed",
        READY_LIST,
        "if list.closed.load(Ordering::SeqCst) {",
        "if false {",
    ),
    Mistake(
        "mailbox",
        "no fence between a push and the look at `parked`",
        MAILBOX,
        "fence(Ordering::SeqCst);\n        self.parked.load(Ordering::Relaxed) &&",
        "fence(Ordering::Release);\n        self.parked.load(Ordering::Relaxed) &&",
    ),
    Mistake(
        "mailbox",
        "the queue is not checked after the announcement of a wait",
        MAILBOX,
        "if self.is_filled() {",
        "if false {",
    ),
    Mistake(
        "mailbox",
        "the loop waits although the wake was sent",
        MAILBOX,
        "        fence(Ordering::SeqCst);\n        self.parked.load(Ordering::Relaxed)\n",
        "        fence(Ordering::SeqCst);\n        true\n",
    ),
    Mistake(
        "calls",
        "no fence between the queue and the look at `closed`",
        REMOTE,
        "        fence(Ordering::SeqCst);\n        if self.is_closed()",
        "        if self.is_closed()",
    ),
    Mistake(
        "calls",
        "no fence between `closed` and emptying the queue",
        REMOTE,
        "        fence(Ordering::SeqCst);\n        self.call_off();",
        "        self.call_off();",
    ),
    Mistake(
        "calls",
        "who queued does not look again whether the loop is closed",
        REMOTE,
        "if self.is_closed() {\n            self.call_off();",
        "if false {\n            self.call_off();",
    ),
    Mistake(
        "keys",
        "a place that is used again keeps its generation",
        SOURCES,
        "entry.generation.wrapping_add(1).max(1)",
        "entry.generation",
    ),
    Mistake(
        "keys",
        "the generation of an event is not compared",
        SOURCES,
        ".filter(|entry| entry.generation == generation)",
        ".filter(|_| generation > 0)",
    ),
    Mistake(
        "keys",
        "the push of a slot is relaxed",
        READY_LIST,
        "(Ordering::Release, Ordering::Relaxed)",
        "(Ordering::Relaxed, Ordering::Relaxed)",
    ),
    Mistake(
        "phases",
        "no fence between the odd number and the change",
        PHASES,
        "        fence(Ordering::Release);\n",
        "",
    ),
    Mistake(
        "phases",
        "the even number is relaxed",
        PHASES,
        ".store(version.wrapping_add(2), Ordering::Release);",
        ".store(version.wrapping_add(2), Ordering::Relaxed);",
    ),
    Mistake(
        "phases",
        "who has read does not look whether the number is the same",
        PHASES,
        "let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == ",
        "let is_whole = version.is_multiple_of(2) && version == ",
    ),
    Mistake(
        "phases",
        "a change keeps its number",
        PHASES,
        "version.wrapping_add(2)",
        "version",
    ),
    Mistake(
        "alarm",
        "no fence between the phase and the look at who sleeps",
        ALARM,
        "        fence(Ordering::SeqCst);\n        if self.0",
        "        if self.0",
    ),
    Mistake(
        "alarm",
        "no fence between falling asleep and the look at the phase",
        ALARM,
        "        self.0.store(ASLEEP, Ordering::Relaxed);\n        fence(Ordering::SeqCst);",
        "        self.0.store(ASLEEP, Ordering::Relaxed);",
    ),
    Mistake(
        "alarm",
        "who sleeps is not looked for once the loop is busy",
        PHASES,
        "        self.turn_began.set(now);\n        self.alarm.busy();\n    }\n",
        "        self.turn_began.set(now);\n    }\n",
    ),
    Mistake(
        "gate",
        "there is no second look at the count, under the lock",
        ADMISSION,
        "locked(&self.waiting);\n        if self.open.load(Ordering::SeqCst) < most {\n",
        "locked(&self.waiting);\n        if false {\n",
    ),
    Mistake(
        "gate",
        "who leaves wakes before it counts down",
        ADMISSION,
        "        self.open.fetch_sub(1, Ordering::SeqCst);\n",
        "        self.wake();\n        self.open.fetch_sub(1, Ordering::SeqCst);\n        return;",
    ),
    Mistake(
        "gate",
        "counting down is a load and a store",
        ADMISSION,
        "self.open.fetch_sub(1, Ordering::SeqCst);",
        "self.open.store(self.open() - 1, Ordering::SeqCst);",
    ),
)


def is_found(mistake: Mistake, copy: Path, target: Path) -> bool:
    """Plants one mistake, runs its model, and takes the mistake away again."""
    planted = copy / "src" / mistake.file
    right = planted.read_text()
    planted.write_text(mistake.plant(planted))
    try:
        manifest = ["--manifest-path", str(copy / "models" / "Cargo.toml")]
        command = ["cargo", "build", "--quiet", "--locked", *manifest, "--target-dir", str(target)]
        subprocess.run(command, check=True)
        model = [str(target / "debug" / NAME), mistake.model]
        run = subprocess.run(model, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
        # A second panic, while the first one drops what it holds, aborts the process.
        return run.returncode != 0 and "panicked at" in run.stderr
    finally:
        planted.write_text(right)


def main() -> int:
    """Returns how many mistakes were not found."""
    target = Path(sys.argv[1]).resolve()
    copy = target / "planted"
    shutil.rmtree(copy, ignore_errors=True)
    for folder in ("src", "models"):
        shutil.copytree(ROOT / folder, copy / folder)
    for file in ("Cargo.toml", "Cargo.lock"):
        path = copy / "models" / file
        path.write_text(path.read_text().replace("yamanote-models", NAME))
    missed = 0
    for mistake in MISTAKES:
        found = is_found(mistake, copy, target)
        missed += not found
        print(f"{mistake.model:<14} {'found' if found else 'MISSED'}: {mistake.what}", flush=True)
    print(f"{len(MISTAKES) - missed} of {len(MISTAKES)} mistakes found")
    return missed


if __name__ == "__main__":
    sys.exit(main())
