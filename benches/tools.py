"""The native programs of `benches/native`, built if they are missing or out of date."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "benches" / "native"


@dataclass(frozen=True)
class Tools:
    """The paths of the programs."""

    load: Path
    echo: Path


def tools() -> Tools:
    """Return the programs, after building them if necessary.

    Raises:
        SystemExit: cargo is missing, or the build failed with cargo's error messages.
    """
    directory = target_directory() / "release"
    found = Tools(directory / "load", directory / "echo")
    if not is_fresh(found):
        command = ["cargo", "build", "--release", "-p", "yamanote-benches"]
        print(f"building the load client: {' '.join(command)}", file=sys.stderr, flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise SystemExit("the load client could not be built")
        for program in (found.load, found.echo):
            program.touch()  # cargo does not rewrite a program that is up to date.
    return found


def is_fresh(found: Tools) -> bool:
    """Return whether both programs are newer than all of their sources."""
    if not (found.load.exists() and found.echo.exists()):
        return False
    built = min(found.load.stat().st_mtime, found.echo.stat().st_mtime)
    sources = [SOURCES / "Cargo.toml", *SOURCES.rglob("*.rs")]
    return all(source.stat().st_mtime <= built for source in sources)


def target_directory() -> Path:
    """Return cargo's target directory, which depends on its environment and configuration."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    try:
        answer = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise SystemExit("cargo is not installed: see https://rustup.rs") from None
    except subprocess.CalledProcessError:
        raise SystemExit("cargo could not read this workspace") from None
    return Path(cast("str", json.loads(answer.stdout)["target_directory"]))
