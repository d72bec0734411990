"""Processes that inherit listening sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.programs import PYTHON

if TYPE_CHECKING:
    import socket

ROOT = Path(__file__).parents[2]


def activated(listeners: list[socket.socket], *command: str) -> subprocess.Popen[bytes]:
    """Starts Python as systemd does: with sockets as descriptors from 3 on, and two variables."""
    # The numbers may be each other's, so they are moved out of the way first.
    moves = [f"import os; moved = [os.dup(it) for it in {[it.fileno() for it in listeners]}]"]
    moves += [f"moved = [it if it > {2 + len(listeners)} else os.dup(it) for it in moved]"]
    moves += ["[os.dup2(it, 3 + index) for index, it in enumerate(moved)]"]
    moves += [f"os.environ.update(LISTEN_FDS='{len(listeners)}', LISTEN_PID=str(os.getpid()))"]
    moves += [f"os.execv({sys.executable!r}, {[*PYTHON, *command]!r})"]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(moves)],
        cwd=ROOT,
        pass_fds=[it.fileno() for it in listeners],
    )
