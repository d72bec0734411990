"""Does the extension in C on docs/futures.md build, and do what the page says?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import yamanote
from tests.docs.pages import DOCS, blocks_of
from tests.programs import run_python

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
    pytest.mark.skipif(sys.platform == "darwin", reason="needs an option more"),
]

PAGE = "futures.md"
NAMES = ("ticks.c", "tick.py", "build.sh")


def test_the_extension_in_c_builds_and_is_awaited(tmp_path: Path) -> None:
    blocks = list(blocks_of(PAGE, (DOCS / PAGE).read_text()))
    for block in blocks:
        name = (block.mark or "").removeprefix("file: ")
        if name in NAMES:
            (tmp_path / name).write_text(block.code)
    # `python` is this one, and the compiler minds every warning, of the page's code.
    include = sysconfig.get_path("include")
    strict = f"{shutil.which('cc')} -Wall -Wextra -Werror -isystem{include}"
    for tool, command in (("python", sys.executable), ("cc", strict)):
        (tmp_path / tool).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tmp_path / tool).chmod(0o755)
    package = str(Path(yamanote.__file__).parents[1])
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        "PYTHONPATH": package,
    }
    subprocess.run(["sh", "-e", "build.sh"], check=True, cwd=tmp_path, env=env, timeout=60)
    (run,) = [it for it in blocks if it.mark == "run by tests/docs/test_c_extension.py"]
    done = run_python("tick.py", cwd=tmp_path, env=env)
    assert (done.stdout.rstrip("\n"), done.stderr) == (run.output, "")
