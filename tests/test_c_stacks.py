"""`watch(c_stacks=True)`: the stack of C code that keeps the GIL."""

from __future__ import annotations

import re
import sys

import pytest

import yamanote
from tests.processes import LINUX
from tests.programs import Program

pytestmark = pytest.mark.slow

program = Program("yamanote")

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
needs_a_gil = pytest.mark.skipif(
    FREE_THREADED or not LINUX, reason="needs a GIL to wait for, and a signal to one thread"
)

C_STACKS = """
import logging, os, re, sys, threading, time
import yamanote

ended = threading.Event()
{before}

def on_stall(stall):
    # On a machine without a processor for it, the kind may be another one, and then it has none.
    if stall.ended and (stall.stack or {ends}):
        print([it.name for it in stall.stack or ()], flush=True)
        ended.set()

def deep(size):
    re.match("(a+)+b", size * "a")

async def main():
    began, size = time.monotonic(), 18
    while time.monotonic() - began < 0.3:
        began, size = time.monotonic(), size + 1
        re.match("(a+)+b", size * "a")
    with yamanote.watch(on_stall={on_stall}, c_stacks=True):
        while not ended.is_set():
            await asyncio.sleep(0)
            deep(size)

run(main())
"""


@needs_a_gil
def test_the_stack_of_code_in_c_that_keeps_the_gil_is_read_if_asked_for() -> None:
    child = program.run(C_STACKS.format(before="", on_stall="on_stall", ends=False))
    assert child.returncode == 0, child.stderr
    assert "['main', 'deep', " in child.stdout
    assert not child.stderr


@needs_a_gil
def test_without_on_stall_that_stack_is_printed_while_it_lasts() -> None:
    before = """
class Waiting(logging.Handler):
    def emit(self, record):
        if record.stall.ended:
            ended.set()
logging.getLogger("yamanote").addHandler(Waiting())
"""
    child = program.run(C_STACKS.format(before=before, on_stall="None", ends=False))
    assert child.returncode == 0, child.stderr
    assert re.search(
        r"which cannot be reported yet\nStack \(most recent call first\):\n"
        r'(  File ".*", line \d+ in \w+\n)*  File ".*", line \d+ in deep\n'
        r'  File ".*", line \d+ in main\n',
        child.stderr,
    ), child.stderr


@needs_a_gil
@pytest.mark.parametrize(
    "spoil",
    [
        "import faulthandler, signal; faulthandler.unregister(signal.SIGRTMAX)",
        "os.closerange(3, 100)",
        "os.closerange(3, 100); [os.open('/dev/null', os.O_WRONLY) for _ in range(60)]",
    ],
)
def test_a_handler_or_a_file_that_is_gone_harms_nothing(spoil: str) -> None:
    code = C_STACKS.format(before="", on_stall="on_stall", ends="stall.duration > 0.1")
    code = code.replace("async def main():", f"def spoil():\n    {spoil}\n\nasync def main():")
    # Before there is a loop, whose descriptors must stay.
    code = code.replace("run(main())", SPOILED_FIRST)
    child = program.run(code)
    assert child.returncode == 0, child.stderr
    assert child.stdout
    assert not child.stderr


SPOILED_FIRST = """
import yamanote._c_stacks
yamanote._c_stacks.dumper()
spoil()
run(main())
"""


@needs_a_gil
def test_a_forked_child_has_a_file_of_its_own() -> None:
    code = C_STACKS.format(before="", on_stall="on_stall", ends=False)
    code = code.replace("run(main())", FORKED)
    child = program.run(code)
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("['main', 'deep', ") == 2
    assert not child.stderr


FORKED = """
import yamanote._c_stacks
_, file = yamanote._c_stacks.dumper()
before = os.fstat(file).st_ino
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
assert (os.fstat(file).st_ino == before) == bool(child)
run(main())
if not child:
    os._exit(0)
"""


@pytest.mark.skipif(LINUX, reason="has it")
def test_elsewhere_it_is_refused() -> None:
    with pytest.raises(RuntimeError, match="c_stacks needs Linux"):
        yamanote.watch(c_stacks=True)
