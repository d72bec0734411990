"""Writes the licences of what is linked into the extension: `THIRD-PARTY-LICENSES.txt`.

`python packaging/notices.py` writes the file; with `--check`, it fails if the file is not what it
would write. Wheels and the source distribution contain it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "THIRD-PARTY-LICENSES.txt"

INTRODUCTION = """\
yamanote's compiled module contains the following Rust libraries, besides Rust's standard library
(https://github.com/rust-lang/rust, MIT OR Apache-2.0). Each is followed by the licence that its
authors ship with it. Made by packaging/notices.py from Cargo.lock.
"""


def cargo(*arguments: str) -> str:
    """Return what a command of cargo prints."""
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def linked() -> set[tuple[str, str]]:
    """Return name and version of what is linked in: no macros, no tools of the build."""
    tree = cargo(
        *("tree", "--package", "yamanote", "--features", "extension-module"),
        *("--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"),
    )
    words = [line.split() for line in tree.splitlines()]
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def licence_of(package: dict[str, Any]) -> str:
    """Return the text of a package's licence; of several to choose from, MIT's."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.glob("LICEN[CS]E*") if path.is_file())
    if not files:
        raise SystemExit(f"{package['name']} has no file with its licence")
    chosen = next((path for path in files if "MIT" in path.name), files[0])
    return chosen.read_text().strip()


def notices() -> str:
    """Return the contents of the file."""
    metadata = json.loads(cargo("metadata", "--format-version", "1"))
    wanted = linked()
    parts = [INTRODUCTION]
    for package in sorted(metadata["packages"], key=lambda it: str(it["name"])):
        is_ours = package["source"] is None
        if is_ours or (package["name"], package["version"]) not in wanted:
            continue
        title = f"{package['name']} {package['version']} ({package['license']})"
        about = f"{title}\n{package['repository']}"
        parts.append(f"{'=' * 80}\n{about}\n\n{licence_of(package)}\n")
    return "\n".join(parts)


def main() -> None:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file is out of date")
    text = notices()
    if not parser.parse_args().check:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        raise SystemExit(f"{FILE.name} is out of date: run packaging/notices.py")


if __name__ == "__main__":
    main()
