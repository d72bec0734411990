"""The build backend of `pip install .`: maturin's, after a look whether Rust is new enough.

cargo's own text for an old one says neither which version is needed nor where it comes from. Where
there is no Rust at all, maturin downloads one, or says what to install. As a script, only looks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
    """End with one sentence if Rust is too old."""
    needed = re.findall(r'^rust-version = "(.+)"', MANIFEST.read_text(), re.MULTILINE)[0]
    for tool in ("cargo", "rustc"):
        version = version_of(tool)
        if version and numbers(version) < numbers(needed):
            sys.exit(
                f"yamanote needs Rust {needed} or later, but `{tool}` is {version}: run `rustup"
                " update`, or install it from https://rustup.rs"
            )


look()
if __name__ != "__main__":
    # It would warn that it is not the backend itself.
    os.environ.setdefault("MATURIN_NO_MISSING_BUILD_BACKEND_WARNING", "1")
    from maturin import *  # type: ignore[import-untyped] # noqa: F403
