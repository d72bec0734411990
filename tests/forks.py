"""Forked children of the test process, which report what they found."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds a child may take before it counts as hung.
PATIENCE_S = 30


def in_child(work: Callable[[], Any]) -> str:
    """What `work` returns in a forked child, in Python's notation, or the traceback of its error.

    The caller waits: a loop that runs here does nothing meanwhile. The child ends with
    `os._exit()`, or by a signal when it hangs.
    """
    child, reader = start_child(work)
    return answer(child, reader)


def start_child(work: Callable[[], Any]) -> tuple[int, int]:
    """Fork; returns the child's process id and the descriptor to read its answer from."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The hang guard is a thread, and Python warns of forking a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            signal.alarm(PATIENCE_S)
            text = repr(work())
        except BaseException:
            text = traceback.format_exc()
        try:
            os.write(writer, text.encode())
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


def answer(child: int, reader: int) -> str:
    """What the child reported; it is reaped, and must have ended well."""
    parts: list[bytes] = []
    while part := os.read(reader, 65536):
        parts.append(part)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child hung or crashed: {status}"
    return b"".join(parts).decode()
