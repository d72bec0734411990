"""Does the extension on docs/futures.md build, and do what the page says?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.docs.pages import DOCS, ROOT, blocks_of

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "BUILDS_RUST" not in os.environ, reason="make example-rust builds it, once for all Pythons"
    ),
]

PAGE = "futures.md"


def run(*command: str, cwd: Path, env: Mapping[str, str]) -> str:
    """Returns what a command prints."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=env,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# pip builds as cargo does: longer than the tests' own limit where nothing is compiled yet.
@pytest.mark.hang_after(900)
def test_the_extension_builds_and_its_futures_are_awaited(tmp_path: Path) -> None:
    blocks = list(blocks_of(PAGE, (DOCS / PAGE).read_text()))
    for block in blocks:
        if block.mark and block.mark.startswith("file: "):
            path = tmp_path / block.mark.removeprefix("file: ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.code.replace("../yamanote/", f"{ROOT}/"))
    installed = tmp_path / "installed"
    package = Path(yamanote.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(package)])}
    # maturin is here, so pip need not download it.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    env["CARGO_TARGET_DIR"] = str(ROOT / "target" / "example")
    pip = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", str(installed))
    run(*pip, ".", cwd=tmp_path, env=env)
    (command,) = [it for it in blocks if it.mark == "run by tests/docs/test_tutorial.py"]
    assert run("try.py", cwd=tmp_path, env=env).rstrip("\n") == command.output
