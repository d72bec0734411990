"""What does `pip install .` say where Rust is too old, or missing?"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.programs import run_python

ROOT = Path(__file__).parents[1]
BACKEND = ROOT / "packaging" / "backend.py"
NEEDED = re.findall(r'^rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]


def look(folder: Path, *, cc: str = "12.2", **versions: str) -> tuple[int, str]:
    """Returns what the look for Rust says beside tools with these versions, and no others."""
    if cc:
        versions["cc"] = cc
    for tool, version in versions.items():
        path = folder / tool
        path.write_text(f"#!/bin/sh\necho '{tool} {version} (0123456789 2026-01-01)'\n")
        path.chmod(0o755)
    done = run_python(str(BACKEND), env={**os.environ, "PATH": str(folder)})
    return done.returncode, done.stderr


@pytest.mark.parametrize("old", ["1.75.0", "1.9.0", "0.99.0"])
@pytest.mark.parametrize("tool", ["cargo", "rustc"])
def test_an_old_rust_ends_with_what_to_install(tmp_path: Path, tool: str, old: str) -> None:
    code, said = look(tmp_path, **{"cargo": NEEDED, "rustc": NEEDED, tool: old})
    assert code == 1
    version = old.removesuffix(".0")
    assert said == (
        f"yamanote needs Rust {NEEDED} or later, but `{tool}` is {version}: run `rustup update`, or"
        " install it from https://rustup.rs\n"
    )


@pytest.mark.parametrize("version", [NEEDED, f"{NEEDED}.1", "1.100.0-nightly", "2.0.0", "unknown"])
def test_a_rust_that_may_do_is_left_to_maturin(tmp_path: Path, version: str) -> None:
    assert look(tmp_path, cargo=version, rustc=version) == (0, "")


def test_an_old_python_ends_with_what_to_install() -> None:
    code = "import runpy, sys; sys.version_info = (3, 10, 13)"
    done = run_python("-c", f"{code}; runpy.run_path({str(BACKEND)!r}, run_name='__main__')")
    assert done.returncode == 1
    assert done.stderr == (
        "yamanote needs Python 3.11 or later, but this is 3.10: install a newer one\n"
    )


def test_where_there_is_no_rust_maturin_gets_one(tmp_path: Path) -> None:
    assert look(tmp_path) == (0, "")


def test_what_a_missing_linker_means_is_said_and_the_build_goes_on(tmp_path: Path) -> None:
    code, said = look(tmp_path, cc="", cargo=NEEDED, rustc=NEEDED)
    assert code == 0
    assert said == (
        "Rust links with a C compiler, but there is no `cc`: if the linker is not found, install"
        " gcc or clang (on Debian: build-essential)\n"
    )


def test_a_tool_that_fails_is_left_to_maturin(tmp_path: Path) -> None:
    tool = tmp_path / "cargo"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    assert look(tmp_path) == (0, "")


def test_the_hooks_are_those_of_maturin(tmp_path: Path) -> None:
    assert look(tmp_path) == (0, "")  # There is a `cc` now.
    (tmp_path / "maturin.py").write_text("def build_wheel(): print('built')\n")
    paths = os.pathsep.join([str(tmp_path), str(BACKEND.parent)])
    code = "import backend; backend.build_wheel()"
    done = run_python("-c", code, env={**os.environ, "PYTHONPATH": paths, "PATH": str(tmp_path)})
    assert (done.stdout, done.stderr) == ("built\n", "")
