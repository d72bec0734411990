"""Stacks of C code that keeps the GIL: `faulthandler` writes them in a signal handler."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
import threading
from traceback import FrameSummary, StackSummary
from typing import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    #: The signal, and the descriptor of the file that its handler appends to.
    _Dumper: TypeAlias = tuple[int, int]

_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)

_dumper: _Dumper | None = None
_lock = threading.Lock()


def dumper() -> _Dumper:
    """Return what writes the stack of a thread of this process; it is made once.

    Raises:
        RuntimeError: the system cannot send a signal to one thread, or no real-time signal is free.
        OSError: there is no file for the stacks.
    """
    global _dumper
    with _lock:
        if _dumper is None:
            _dumper = _made(_free_signal())
        return _dumper


def read(text: str) -> StackSummary | None:
    """Return the stack that a handler has written, innermost last; `None` if there is none."""
    frames = [
        FrameSummary(file, int(line), name, lookup_line=False)
        for file, line, name in reversed(_FRAME.findall(text))
    ]
    return StackSummary.from_list(frames) if frames else None


def _made(number: int) -> _Dumper:
    # Imported here: no program needs it that does not ask for this.
    import faulthandler

    file = _new_file()
    # Calls of the system are restarted after it, where the system can.
    faulthandler.register(number, file=file, all_threads=False)
    return number, file


def _new_file() -> int:
    file = os.memfd_create("yamanote-stacks")
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    return file


def _free_signal() -> int:
    if sys.platform != "linux":
        raise RuntimeError("c_stacks needs Linux: no signal can be sent to one thread here")
    for number in range(signal.SIGRTMAX, signal.SIGRTMIN - 1, -1):
        if signal.getsignal(number) == signal.SIG_DFL:
            return number
    raise RuntimeError("c_stacks needs a real-time signal, and each has a handler")


def _in_child() -> None:
    """In a forked child: have a file of its own, which its parent does not write to."""
    global _lock
    _lock = threading.Lock()
    if _dumper is not None:
        try:
            own = _new_file()
        except OSError:
            # Ignored: without a file, its stacks are missing.
            os.close(_dumper[1])
            return
        os.dup2(own, _dumper[1], inheritable=False)
        os.close(own)


os.register_at_fork(after_in_child=_in_child)
