"""The build backend of `pip install .`: maturin's, after a look at Python and Rust.

cargo's own text for an old Rust says neither which version is needed nor where it comes from. Where
there is no Rust at all, maturin downloads one, or says what to install. As a script, only looks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
MANIFEST = Path(__file__).parents[1] / "Cargo.toml"


def version_of(tool: str) -> str:
    """Return what a tool of Rust says that its version is; "" if it cannot be asked."""
    try:
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    found = re.match(r"\w+ (\d+\.\d+)", done.stdout)
    return found[1] if found else ""


def numbers(version: str) -> list[int]:
    """Return a version in a form that can be compared."""
    return [int(number) for number in version.split(".")]


def look() -> None:
    """End with one sentence if Python or Rust is too old; say what a missing linker means."""
    if sys.version_info < OLDEST:  # pip looks later: after a download of Rust, where there is none.
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"yamanote needs Python 3.11 or later, but this is {version}: install a newer one")
    needed = re.findall(r'^rust-version = "(.+)"', MANIFEST.read_text(), re.MULTILINE)[0]
    for tool in ("cargo", "rustc"):
        version = version_of(tool)
        if version and numbers(version) < numbers(needed):
            sys.exit(
                f"yamanote needs Rust {needed} or later, but `{tool}` is {version}: run `rustup"
                " update`, or install it from https://rustup.rs"
            )
    if shutil.which("cc") is None:  # Another linker may be set.
        print(
            "Rust links with a C compiler, but there is no `cc`: if the linker is not found,"
            " install gcc or clang (on Debian: build-essential)",
            file=sys.stderr,
        )


look()
if __name__ != "__main__":
    # It would warn that it is not the backend itself.
    os.environ.setdefault("MATURIN_NO_MISSING_BUILD_BACKEND_WARNING", "1")
    from maturin import *  # type: ignore[import-untyped] # noqa: F403
