"""`signal.set_wakeup_fd()` belongs to the program, and Ctrl-C works whatever it does with it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.processes import wait_until_idle

if TYPE_CHECKING:
    from tests.programs import Program

PAIR = """
import os, signal, socket

theirs, ours = socket.socketpair()
theirs.setblocking(False)
ours.setblocking(False)
signal.signal(signal.SIGUSR2, lambda *_: None)
USR2 = bytes([signal.SIGUSR2])

def got():
    try:
        return ours.recv(10)
    except BlockingIOError:
        return b""

async def until_got():
    loop = asyncio.get_running_loop()
    await asyncio.wait_for(readable(loop), 10)
    return got()

async def readable(loop):
    ready = loop.create_future()
    loop.add_reader(ours, ready.set_result, None)
    await ready
    loop.remove_reader(ours)
"""


def expect(program: Program, source: str, output: str) -> None:
    done = program.run(PAIR + source + "theirs.close()\nours.close()\n")
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def test_one_that_was_there_before_the_run_is_fed_and_kept(program: Program) -> None:
    source = """
async def main():
    # From a thread: the loop may be waiting, or not yet.
    await asyncio.get_running_loop().run_in_executor(None, os.kill, os.getpid(), signal.SIGUSR2)
    assert await until_got() == USR2
    # While a callback runs, at once.
    os.kill(os.getpid(), signal.SIGUSR2)
    assert got() == USR2
    assert signal.set_wakeup_fd(theirs.fileno()) == theirs.fileno()

signal.set_wakeup_fd(theirs.fileno())
loop = new_event_loop()
loop.run_until_complete(main())
loop.run_until_complete(main())
assert signal.set_wakeup_fd(-1) == theirs.fileno()
loop.close()
print("kept")
"""
    expect(program, source, "kept\n")


def test_one_that_is_set_during_the_run_is_fed_and_kept_after_it(program: Program) -> None:
    source = """
async def main():
    assert signal.set_wakeup_fd(theirs.fileno()) == -1
    await asyncio.get_running_loop().run_in_executor(None, os.kill, os.getpid(), signal.SIGUSR2)
    assert await until_got() == USR2
    assert signal.set_wakeup_fd(theirs.fileno()) == theirs.fileno()

loop = new_event_loop()
loop.run_until_complete(main())
loop.close()
assert signal.set_wakeup_fd(-1) == theirs.fileno()
print("kept")
"""
    expect(program, source, "kept\n")


def test_a_run_leaves_none_where_there_was_none(program: Program) -> None:
    source = """
async def main():
    for _ in range(3):
        await asyncio.sleep(0.001)
        assert signal.set_wakeup_fd(-1) == -1

loop = new_event_loop()
loop.run_until_complete(main())
assert signal.set_wakeup_fd(-1) == -1
loop.close()
assert signal.set_wakeup_fd(-1) == -1
print("none")
"""
    expect(program, source, "none\n")


def test_what_the_program_set_meanwhile_outlives_the_last_handler(program: Program) -> None:
    source = """
async def main():
    loop = asyncio.get_running_loop()
    heard = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, heard.set_result, "heard")
    await loop.run_in_executor(None, os.kill, os.getpid(), signal.SIGUSR1)
    print(await heard)

loop = new_event_loop()
loop.run_until_complete(main())
signal.set_wakeup_fd(theirs.fileno())
loop.run_until_complete(asyncio.sleep(0.001))
assert signal.set_wakeup_fd(theirs.fileno()) == theirs.fileno()
print("kept")
loop.close()
"""
    expect(program, source, "heard\nkept\n")


def test_a_handler_of_the_loop_runs_beside_a_descriptor_of_the_program(loop_name: str) -> None:
    """Asyncio's handlers replace the program's descriptor; ours forward the bytes to it."""
    if loop_name == "asyncio":
        pytest.skip("asyncio's add_signal_handler() displaces the program's descriptor")
    source = """
async def main():
    loop = asyncio.get_running_loop()
    heard = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR2, lambda: heard.done() or heard.set_result("heard"))
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGUSR2)
        assert await until_got() == USR2
    print(await heard)
    loop.remove_signal_handler(signal.SIGUSR2)

signal.set_wakeup_fd(theirs.fileno())
run(main())
assert signal.set_wakeup_fd(-1) == theirs.fileno()
print("kept")
"""
    from tests.programs import Program

    expect(Program(loop_name), source, "heard\nkept\n")


@pytest.mark.parametrize(
    "change",
    [
        "signal.set_wakeup_fd(-1)",
        "signal.set_wakeup_fd(theirs.fileno())",
        # The effect of another loop of asyncio's.
        "other = asyncio.SelectorEventLoop()\n"
        "    other.add_signal_handler(signal.SIGUSR1, print)\n"
        "    other.remove_signal_handler(signal.SIGUSR1)\n"
        "    other.close()",
        # Another loop of ours.
        "other = new_event_loop()\n"
        "    other.add_signal_handler(signal.SIGUSR1, print)\n"
        "    other.close()",
    ],
    ids=["none", "own", "asyncio", "same"],
)
def test_ctrl_c_ends_an_idle_loop_whatever_a_callback_has_set(
    program: Program, change: str
) -> None:
    source = f"""
async def main():
    {change}
    # Busy for a while, then idle.
    for _ in range(100):
        await asyncio.sleep(0)
    print("ready")
    await asyncio.sleep(3600)

loop = new_event_loop()
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    print("interrupted")
loop.close()
"""
    with program.start(PAIR + source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=40)
        assert (output, child.returncode) == ("interrupted\n", 0), errors


def test_twisted_hears_of_the_end_of_its_children(program: Program) -> None:
    pytest.importorskip("twisted", reason="Twisted is not installed with the tests' requirements")
    source = """
import warnings
warnings.simplefilter("ignore")
loop = new_event_loop()
asyncio.set_event_loop(loop)
from twisted.internet import asyncioreactor
asyncioreactor.install(loop)
from twisted.internet import protocol, reactor

class Child(protocol.ProcessProtocol):
    def processEnded(self, reason):
        print("ended", reason.value.exitCode)
        reactor.stop()

command = ["sh", "-c", "exit 3"]
reactor.callWhenRunning(lambda: reactor.spawnProcess(Child(), "sh", command, childFDs={}))
reactor.callLater(30, reactor.stop)
reactor.run()
"""
    done = program.run(source)
    assert (done.stdout, done.returncode) == ("ended 3\n", 0), done.stderr


def test_trio_is_a_guest_of_the_loop(program: Program) -> None:
    pytest.importorskip("trio", reason="trio is not installed with the tests' requirements")
    source = """
import os, signal, trio

async def guest():
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        async for number in signals:
            break
    await trio.sleep(0.01)
    return number == signal.SIGUSR1

async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    trio.lowlevel.start_guest_run(
        guest,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=done.set_result,
    )
    return (await done).unwrap()

print(run(main()), signal.set_wakeup_fd(-1))
"""
    done = program.run(source)
    assert (done.stdout, done.stderr, done.returncode) == ("True -1\n", "", 0)
