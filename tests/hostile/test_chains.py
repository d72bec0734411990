"""Objects that refer to each other in chains, as long as memory allows."""

from __future__ import annotations

import pytest

from tests.programs import Program

#: Each creates a chain of `LENGTH` links and returns the last.
CHAINS = {
    "handles": """
def chain(loop):
    last = None
    for _ in range(LENGTH):
        last = loop.call_soon(ignores, last)
    loop.call_soon(loop.stop)
    loop.run_forever()
    return last
""",
    "handles that never ran": """
def chain(loop):
    last = None
    for _ in range(LENGTH):
        last = loop.call_soon(ignores, last)
    loop.close()
    return last
""",
    "arguments in a tuple": """
def chain(loop):
    last = None
    for _ in range(LENGTH):
        last = loop.call_soon(ignores, 1, 2, 3, 4, last)
    loop.close()
    return last
""",
    "timers": """
def chain(loop):
    last = None
    for _ in range(LENGTH):
        last = loop.call_later(3600, ignores, last)
    loop.close()
    return last
""",
    "thread-safe handles": """
def chain(loop):
    last = None
    for _ in range(LENGTH):
        last = loop.call_soon_threadsafe(ignores, last)
    loop.close()
    return last
""",
    "cancelled handles in debug mode": """
def chain(loop):
    last = None
    for number in range(LENGTH):
        last = loop.call_soon(ignores, last)
        last._repr = last._source_traceback = None
    return last
""",
    "handles, bound methods, dicts, lists, partials and cells": """
import functools
class Holder:
    def method(self, *_): pass
def chain(loop):
    last = None
    for number in range(LENGTH):
        if number % 5 == 0:
            holder = Holder()
            holder.last = last
            last = holder.method
        elif number % 5 == 1:
            last = [last]
        elif number % 5 == 2:
            last = {"last": last}
        elif number % 5 == 3:
            last = functools.partial(ignores, last)
        else:
            last = (lambda it: lambda *_: it)(last)
        last = loop.call_soon(last if callable(last) else ignores, last)
    loop.close()
    return last
""",
    "calls on sockets": """
import socket
def chain(loop):
    left, right = socket.socketpair()
    left.setblocking(False)
    last = b""
    class Bytes(bytearray): pass
    for _ in range(LENGTH):
        data = Bytes(b"x")
        data.last = last
        last = loop.sock_sendall(left, data)
        last.close()
        last = loop.sock_sendall(left, data)
    warnings.simplefilter("ignore")
    left.close(); right.close()
    loop.close()
    return last
""",
    "transports and their protocols": """
import socket
def chain(loop):
    class Protocol(asyncio.Protocol): pass
    async def make():
        last = None
        for _ in range(LENGTH // 100):
            left, right = socket.socketpair()
            transport, protocol = await loop.create_connection(Protocol, sock=left)
            protocol.last = last
            transport.close()
            right.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            # A closed transport keeps none of it alive; an attribute set on it does.
            asyncio.BaseTransport._extra.__set__(transport, (protocol, last))
            last = transport
        return last
    last = loop.run_until_complete(make())
    loop.close()
    return last
""",
    "handles whose arguments have finalizers": """
class Finalized:
    def __init__(self, last): self.last = last
    def __del__(self): count.append(1)
count = []
def chain(loop):
    last = None
    for _ in range(LENGTH):
        last = loop.call_soon(ignores, Finalized(last))
    loop.close()
    return last
def check():
    assert len(count) == LENGTH, len(count)
""",
}

PROGRAM = """
import gc, sys, threading, warnings, weakref
LENGTH = {length}
def ignores(*_): pass
def check(): pass
{chain}
def work(loop=None):
    loop = loop or new_event_loop()
    last = chain(loop)
    del last
    loop.close()
    gc.collect()
    check()
gc.disable()
work()
{again}
print("end")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_is_dropped_link_by_link(kind: str) -> None:
    # asyncio's objects are the interpreter's: 3.13 crashes on the smaller stack.
    # A thread has a smaller stack.
    again = """
threading.stack_size(256 * 1024)
LENGTH = 10_000
count = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    length = 300_000 if kind == "handles" else 60_000  # Without a limit 40,000 are too many.
    program = PROGRAM.format(chain=CHAINS[kind], again=again, length=length)
    done = Program("yamanote").run(program, "-X", "faulthandler")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"


THREADS = """
import gc, threading
def ignores(*_): pass
class Finalized:
    def __init__(self, last, gone): self.last, self.gone = last, gone
    def __del__(self):
        self.gone.append(1)
        if len(self.gone) % 50 == 0:
            turn.acquire(timeout=0.0001)  # Lets another thread run, half-way.
turn = threading.Lock()
turn.acquire()
def work():
    loop = new_event_loop()
    gone, last = [], None
    for _ in range(LENGTH):
        last = loop.call_soon(ignores, Finalized(last, gone))
    loop.close()
    del last
    assert len(gone) == LENGTH, len(gone)  # At once, whatever other threads do.
    done.append(1)
LENGTH, done = 5000, []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(done) == 4
print("end")
"""


def test_a_chain_is_gone_when_it_is_dropped_whatever_other_threads_drop(loop_name: str) -> None:
    done = Program(loop_name).run(THREADS, "-X", "faulthandler")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"
