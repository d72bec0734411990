"""Forked children of the test process, which report results to it."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which a child counts as hung.
PATIENCE_S = 30


def in_child(work: Callable[[], Any]) -> str:
    """Returns the `repr` of what `work` returns in a forked child, or the traceback of its error.

    The call blocks, so a loop on this thread does nothing meanwhile. The child ends with
    `os._exit()`, or by a signal if it hangs.
    """
    child, reader = start_child(work)
    return answer(child, reader)


def start_child(work: Callable[[], Any]) -> tuple[int, int]:
    """Forks; returns the child's process id and the descriptor to read its report from."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The hang guard is a thread, and Python warns about forking a process with threads.
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
    """Returns the child's report, reaps the child, and checks its exit code."""
    parts: list[bytes] = []
    while part := os.read(reader, 65536):
        parts.append(part)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child hung or crashed: {status}"
    return b"".join(parts).decode()
