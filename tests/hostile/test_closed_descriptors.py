"""A program closes the descriptors of a loop: an exception reports it, and the loop can be closed.

Daemons use `os.closerange`; other programs close a number twice by mistake.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.programs import Program

# The loop's own descriptors are closed by number, so that the child's output stays open.
_BEGIN = """
import contextlib, errno, gc, os, socket, threading

def kinds():
    found = {}
    for number in map(int, os.listdir("/proc/self/fd" if os.path.exists("/proc") else "/dev/fd")):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}") if number > 2 else ""
    return found

def close_all():
    os.closerange(3, 256)

def close_kind(kind):
    for number in [number for number, link in kinds().items() if kind in link]:
        os.close(number)

def fails(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        # The second time, another file has the number.
        assert error.errno in (errno.EBADF, errno.EINVAL), error
        assert str(error) == f"[Errno {error.errno}] {os.strerror(error.errno)}"
        return True
    return False

def run_with(function):
    async def main():
        function()
        await asyncio.sleep(0.05)

    coroutine = main()
    try:
        return fails(loop.run_until_complete, coroutine)
    finally:
        coroutine.close()

def close():
    # asyncio's own close() fails as well, once or twice.
    own = [OSError, ValueError] if type(loop).__module__.startswith("asyncio") else []
    with contextlib.suppress(*own):
        loop.close()
        assert loop.is_closed()

def end():
    close()
    other = new_event_loop()
    assert other.run_until_complete(asyncio.sleep(0.001, "it runs")) == "it runs"
    other.close()
    print("ended")

loop = new_event_loop()
loop.run_until_complete(asyncio.sleep(0))
loop.set_exception_handler(lambda *_: None)
"""

_CASES = {
    "before a run": """
        close_all()
        assert run_with(int)
        end()
        """,
    "before close": """
        close_all()
        end()
        """,
    "while it is about to wait": """
        assert run_with(close_all)
        end()
        """,
    "while it does not wait": """
        async def main():
            close_all()
            while True:
                await asyncio.sleep(0)

        task = loop.create_task(main())
        assert fails(loop.run_forever)
        end()
        """,
    "only the sets": """
        assert run_with(lambda: close_kind("eventpoll"))
        end()
        """,
    "and the loop is used on": """
        assert run_with(close_all)
        handle = loop.call_soon(int)
        loop.call_soon_threadsafe(int)
        timer = loop.call_later(0.01, int)
        timer.cancel()
        handle.cancel()
        here, there = socket.socketpair()
        for call in (loop.add_reader, loop.add_writer):
            with contextlib.suppress(OSError):
                call(here, int)
        for _ in range(3):
            assert fails(loop.run_forever)
        loop.remove_reader(here)
        assert not loop.is_running()
        here.detach(), there.detach()  # Their numbers were the loop's, which may close them.
        end()
        """,
    "with connections and servers": """
        async def main():
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x" * 1_000_000)
            close_all()
            await asyncio.sleep(0.01)

        coroutine = main()
        assert fails(loop.run_until_complete, coroutine)
        end()
        """,
    "and other threads call it": """
        stop = False

        def call():
            while not stop:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(int)

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert run_with(close_all)
        # This thread holds the GIL again, and it is released as usual.
        close()
        stop = True
        for thread in threads:
            thread.join()
        end()
        """,
    "in a forked child": """
        child = os.fork()
        if child == 0:
            close_all()
            loop = None
            gc.collect()  # Now: later, the numbers that it closes are the new loop's.
            loop = new_event_loop()
            loop.run_until_complete(asyncio.sleep(0.001))
            loop.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        loop.run_until_complete(asyncio.sleep(0.001))
        end()
        """,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES)
def test_descriptors_closed_behind_the_loop_are_an_exception(program: Program, case: str) -> None:
    source = _BEGIN + textwrap.dedent(_CASES[case])
    child = program.run(source, "-X", "faulthandler", "-W", "ignore", env={"RUST_BACKTRACE": "1"})
    assert child.returncode == 0, child.stderr
    assert child.stdout == "ended\n"
    assert "panicked" not in child.stderr


@pytest.mark.slow
def test_a_wake_up_that_cannot_be_written_harms_no_caller(program: Program) -> None:
    source = """
    # What wakes the loop: asyncio's socket pair, an eventfd.
    before = set(kinds())
    loop = new_event_loop()
    loop.set_exception_handler(lambda *_: None)

    async def main():
        for number in set(kinds()) - before:
            if any(kind in kinds().get(number, "") for kind in ("socket", "eventfd")):
                os.close(number)
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(int,))
        thread.start()
        await asyncio.sleep(0.01)
        thread.join()
        return "it went on"

    with contextlib.suppress(OSError):
        assert loop.run_until_complete(main()) == "it went on"
    end()
    """
    child = program.run(_BEGIN + textwrap.dedent(source), "-X", "faulthandler", "-W", "ignore")
    assert child.returncode == 0, child.stderr
    assert child.stdout == "ended\n"
    assert "panicked" not in child.stderr
