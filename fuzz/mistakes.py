"""Plants mistakes in copies of the fuzzed files; each target must find its own.

usage: python -m fuzz.mistakes [TARGET...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from models.mistakes import NAME, Mistake

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "target" / "fuzz"

#: Seconds until a mistake counts as missed. All are found in a few.
PATIENCE_S = 60


MISTAKES = (
    Mistake(
        "write_buffer",
        "bytes that are taken back stay in a chunk of copies",
        "src/transports/write_buffer.rs",
        "            tail.truncate(mark.tail);\n",
        "            let _ = tail;\n",
    ),
    Mistake(
        "write_buffer",
        "a chunk that was sent to its last byte is kept",
        "src/transports/write_buffer.rs",
        "if self.sent < length {",
        "if self.sent <= length {",
    ),
    Mistake(
        "flow_control",
        "a protocol is resumed below the low mark, and not at it",
        "src/transports/flow_control.rs",
        "size > self.low",
        "size >= self.low",
    ),
    Mistake(
        "timers",
        "of two timers with one deadline, the later one is first",
        "src/scheduler/timers.rs",
        "(other.order, other.sequence).cmp(&(self.order, self.sequence))",
        "(other.order, self.sequence).cmp(&(self.order, other.sequence))",
    ),
    Mistake(
        "timers",
        "a sweep forgets what other threads have cancelled",
        "src/scheduler/timers.rs",
        "self.cancelled -= dead.len().cast_signed();",
        "self.cancelled = 0;",
    ),
    Mistake(
        "addresses",
        "a flow label may have 21 bits",
        "src/addr.rs",
        "flow <= MAX_FLOW",
        "flow <= MAX_FLOW + 1",
    ),
    Mistake(
        "addresses",
        "addresses that embed IPv4's have no dots",
        "src/addr.rs",
        "segments[6] != 0",
        "segments[6] > 0xff",
    ),
    Mistake(
        "names",
        "the length of an address is not looked at",
        "src/sys/socket.rs",
        "family == libc::AF_INET6 && self.length as usize >= size_of::<libc::sockaddr_in6>()",
        "family == libc::AF_INET6 && self.length > 16",
    ),
    Mistake(
        "ciphertext",
        "what was kept is read twice",
        "src/ffi/bio.rs",
        "        self.kept.drain(..self.looked_at);\n",
        "",
    ),
    Mistake(
        "ciphertext",
        "a session reads on from memory that was only lent",
        "src/ffi/bio.rs",
        "std::mem::replace(&mut self.passing, NOTHING)",
        "self.passing",
    ),
    Mistake(
        "reading",
        "a search goes on behind the beginning of a separator",
        "src/transports/streams/reading.rs",
        "let offset = length + 1 - separator.len();",
        "let offset = length;",
    ),
    Mistake(
        "reading",
        "the limit counts the separator",
        "src/transports/streams/reading.rs",
        "if start > limit {",
        "if start + separator.len() > limit {",
    ),
    Mistake(
        "capsule",
        "what was refused is dropped",
        "src/ffi/pollable.rs",
        "        if !self.adopted {\n",
        "        if !self.adopted && self.flags > 1 {\n",
    ),
    Mistake(
        "capsule",
        "flags that are not known are accepted",
        "src/ffi/capsule.rs",
        "if flags & !(abi::ANY_THREAD | abi::INSIDE_RUNTIME) != 0 {",
        "if flags & !(abi::ANY_THREAD | abi::INSIDE_RUNTIME) > 64 {",
    ),
    Mistake(
        "capsule",
        "the client takes a table that is too short",
        "client/src/raw.rs",
        "(size as usize) < size_of::<Api>()",
        "(size as usize) < size_of::<Api>() / 2",
    ),
)


def is_found(mistake: Mistake, copy: Path) -> bool:
    """Plants one mistake, runs its target, and takes the mistake away again."""
    planted = copy / mistake.file
    right = planted.read_text()
    planted.write_text(mistake.plant(planted))
    try:
        work = TARGET / "mistakes"
        environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "WORK": str(work)}
        command = [str(copy / "fuzz" / "run"), str(PATIENCE_S), mistake.model]
        run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if run.returncode == 0:
            return False
        log = work / "logs" / f"{mistake.model}.txt"
        said = log.read_text(errors="replace") if log.exists() else ""
        if "panicked at" not in said and "ERROR: AddressSanitizer" not in said:
            raise RuntimeError(run.stdout + run.stderr)
        log.unlink()
        return True
    finally:
        planted.write_text(right)


def main() -> int:
    """Returns how many mistakes were not found."""
    copy = TARGET / "planted"
    for left in (copy, TARGET / "mistakes"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in ("src", "client", "fuzz"):
        shutil.copytree(ROOT / folder, copy / folder)
    for file in ("Cargo.toml", "Cargo.lock"):
        path = copy / "fuzz" / file
        path.write_text(path.read_text().replace('"yamanote-fuzz"', f'"{NAME}"'))
    wanted = sys.argv[1:]
    chosen = [mistake for mistake in MISTAKES if not wanted or mistake.model in wanted]
    missed = 0
    for mistake in chosen:
        found = is_found(mistake, copy)
        missed += not found
        print(f"{mistake.model:<14} {'found' if found else 'MISSED'}: {mistake.what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mistakes found")
    return missed


if __name__ == "__main__":
    sys.exit(main())
