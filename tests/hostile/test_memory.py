"""Lack of memory raises an error in the code that needs it: no process ends, no data is lost."""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.programs import Program

#: Defined before a child's program: after `cap`, `spare` more bytes can be allocated.
CAPPED = """
import resource, socket, os, ssl

ballast = [bytes(32 << 20)]

def cap(spare):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + spare, resource.RLIM_INFINITY))

def relax():
    ballast.clear()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

class Sender(asyncio.Protocol):
    def connection_lost(self, error):
        print("lost", error)

async def drained(sock, write_last):
    # Everything that arrives: data written before the refusal, and after it.
    loop = asyncio.get_running_loop()
    write_last()
    came = bytearray()
    while not came.endswith(b"last"):
        piece = await loop.sock_recv(sock, 1 << 20)
        assert piece, "closed"
        came += piece
    return bytes(came)

def attempt(write, data):
    try:
        write(data)
    except MemoryError:
        return False
    return True
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux holds a process to RLIMIT_AS"
)

needs_failing_allocations = pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this interpreter was built without _testcapi, which makes allocations fail",
)
needs_survivor = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="CPython itself loses its way without memory, and crashes"
)


def run(program: Program, source: str) -> str:
    """Returns the output of the child, which must exit with 0 and report no panic."""
    child = program.run(CAPPED + source, env={"RUST_BACKTRACE": "0"})
    assert child.returncode == 0, child.stderr
    assert "panicked" not in child.stderr
    return child.stdout


@pytest.mark.parametrize(
    "large",
    ["bytearray(LARGE)", "memoryview(bytearray(LARGE))"],
    ids=["bytearray", "memoryview"],
)
@pytest.mark.parametrize("method", ["write", "writelines"])
@pytest.mark.parametrize("fresh", [True, False], ids=["empty", "with bytes before it"])
def test_a_write_without_memory_for_it_is_refused_as_a_whole(
    program: Program, method: str, large: str, fresh: bool
) -> None:
    if program.module == "asyncio":
        pytest.skip("asyncio needs no memory since 3.12, and had sent a part before that")
    run(
        program,
        f"""
LARGE = 150 << 20
async def main():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(Sender, ours)
    before = b"" if {fresh} else b"first" * 100_000
    transport.write(before)
    large = {large}
    written = [large] if {method == "write"} else [b"small", large, b"small"]
    data = large if {method == "write"} else written
    cap(100 << 20)
    taken = attempt(transport.{method}, data)
    relax()
    expected = before + (b"".join(written) if taken else b"") + b"last"
    assert await drained(theirs, lambda: transport.write(b"last")) == expected
    transport.abort()
    theirs.close()
    await asyncio.sleep(0)
run(main())
""",
    )


def test_many_small_writes_end_in_an_error_and_arrive(program: Program) -> None:
    run(
        program,
        """
async def main():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(Sender, ours)
    piece = bytearray(b"x" * 60_000)
    cap(20 << 20)
    count = 0
    # asyncio keeps references to the pieces themselves since 3.12, and no memory is needed.
    while count < 3000 and attempt(transport.write, piece):
        count += 1
    relax()
    came = await drained(theirs, lambda: transport.write(b"last"))
    assert came == bytes(piece) * count + b"last", (len(came), count)
    transport.abort()
    theirs.close()
    await asyncio.sleep(0)
run(main())
""",
    )


def test_a_pipe_refuses_a_write_without_memory_for_it(program: Program) -> None:
    if program.module == "asyncio":
        pytest.skip("asyncio writes a part before it raises")
    run(
        program,
        """
async def main():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(Sender, ours)
    transport.write(b"first")
    large = bytearray(150 << 20)
    cap(100 << 20)
    taken = attempt(transport.write, large)
    expected = b"first" + (bytes(large) if taken else b"") + b"last"
    relax()
    assert await drained(theirs, lambda: transport.write(b"last")) == expected
    transport.abort()
    theirs.close()
    await asyncio.sleep(0)
run(main())
""",
    )


def test_datagrams_without_memory_are_refused_and_the_others_arrive(program: Program) -> None:
    run(
        program,
        """
async def main():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=receiver.getsockname())
    cap(1 << 20)
    for _ in range(100):
        attempt(transport.sendto, bytearray(60_000))
    relax()
    transport.sendto(b"last")
    receiver.setblocking(False)
    while await loop.sock_recv(receiver, 1 << 16) != b"last":
        pass
    transport.close()
    receiver.close()
    ours.close()
    theirs.close()
    await asyncio.sleep(0)
run(main())
""",
    )


def test_callbacks_beyond_memory_are_refused_and_the_others_run(program: Program) -> None:
    if program.module == "asyncio" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("asyncio's handles are freed by the collector, which reports errors")
    run(
        program,
        """
def main():
    loop = new_event_loop()
    ran = []
    def count():
        ran.append(None)
    limit = 3_000_000
    queued = 0
    context = __import__("contextvars").copy_context()
    cap(8 << 20)
    try:
        while queued < limit:
            loop.call_soon(count, context=context)
            queued += 1
    except MemoryError:
        pass
    relax()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert queued < limit
    assert len(ran) == queued, (len(ran), queued)
main()
""",
    )


#: Python's allocations fail one after the other (`_testcapi.set_nomemory`), each in a fork.
FAILING = """
import _testcapi, faulthandler, gc, os, signal, socket, sys
import linecache, logging, traceback

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

class Client(asyncio.Protocol):
    def __init__(self):
        self.done = asyncio.get_running_loop().create_future()
    def connection_made(self, transport):
        transport.write(b"x" * 100)
    def data_received(self, data):
        if not self.done.done():
            self.done.set_result(None)
    def connection_lost(self, error):
        if not self.done.done():
            self.done.set_exception(error or ConnectionError())

class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)

async def soon(loop):
    loop.call_soon(max, 1, 2)
    repr(loop.call_later(5, print))
    loop.call_at(loop.time(), abs, 1).when()
    done = loop.create_future()
    loop.call_soon_threadsafe(loop.call_later, 0.0001, done.set_result, None)
    await done
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

async def protocols(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    try:
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Client, *address)
        try:
            await protocol.done
        finally:
            transport.close()
    finally:
        server.close()
    await asyncio.sleep(0)

async def streams(loop):
    async def serve(reader, writer):
        try:
            writer.write(await reader.readexactly(100))
            await writer.drain()
        finally:
            writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            writer.write(b"y" * 100)
            await reader.readexactly(100)
        finally:
            writer.close()
    finally:
        server.close()

async def sockets(loop):
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        receiving = loop.create_task(loop.sock_recv(one, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(other, b"hello")
        await receiving
        readable = loop.create_future()
        loop.add_reader(one, lambda: readable.done() or readable.set_result(one.recv(10)))
        try:
            other.send(b"x")
            await readable
        finally:
            loop.remove_reader(one)

async def datagrams(loop):
    ours, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    try:
        received = loop.create_future()
        class Once(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                transport.sendto(b"hello")
            def datagram_received(self, data, address):
                if not received.done():
                    received.set_result(None)
        theirs, _ = await loop.create_datagram_endpoint(
            Once, remote_addr=ours.get_extra_info("sockname"))
        try:
            await received
        finally:
            theirs.close()
    finally:
        ours.close()
    await asyncio.sleep(0)

def attempt(scenario, number, stop):
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(scenario(loop))
    gc.collect()
    gc.disable()
    # What failed may leave the scenario waiting: the loop itself must still run a timer.
    loop.call_later(0.2, _testcapi.remove_mem_hooks)
    loop.call_later(0.25, loop.stop)
    coroutine = scenario(loop)
    try:
        _testcapi.set_nomemory(number, stop)
        loop.run_until_complete(coroutine)
    except BaseException as error:
        _testcapi.remove_mem_hooks()
        how = type(error).__name__
    else:
        _testcapi.remove_mem_hooks()
        how = "passed"
    return how

def in_child(scenario, number, stop):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        signal.alarm(20)
        faulthandler.enable()
        print("how:", attempt(scenario, number, stop), flush=True)
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said

def bad(code, said):
    return code or "panicked" in said or "PanicException" in said

def main(name, numbers):
    scenario = globals()[name]
    for number in numbers:
        code, said = in_child(scenario, number, number + 1)
        if bad(code, said):
            print(f"{name}, allocation {number}: {code}\\n{said}")
"""


@pytest.mark.slow
@needs_failing_allocations
@pytest.mark.parametrize("scenario", ["soon", "protocols", "streams", "sockets", "datagrams"])
def test_any_allocation_of_pythons_may_fail(program: Program, scenario: str) -> None:
    if program.module == "asyncio":
        pytest.skip("this would only test CPython itself")
    source = FAILING + f"\nmain({scenario!r}, range(0, 380, 29))\n"
    child = program.run(source, "-W", "ignore", env={"RUST_BACKTRACE": "0"})
    assert child.returncode == 0, child.stderr
    assert not re.sub(r"\s", "", child.stdout), child.stdout


WRITES_AGAIN = """
import _testcapi, os, socket

async def write_again(skipped, error):
    ours, theirs = socket.socketpair()
    kept.append(theirs)
    _, writer = await asyncio.open_connection(sock=ours)
    writer.write(b"1")
    _testcapi.set_nomemory(skipped, skipped + 20)
    # With it, the stream becomes native; then the frame lets go of it while an exception passes.
    writer.write(b"2")
    raise error

def attempt(skipped):
    loop = new_event_loop()
    # The task may find no memory to tell of its end.
    loop.call_later(0.2, os._exit, 0)
    try:
        loop.run_until_complete(write_again(skipped, ValueError()))
    finally:
        os._exit(0)

kept = []
loop = new_event_loop()
task = loop.create_task(write_again(1_000_000, ValueError()))
loop.run_until_complete(asyncio.wait([task]))
_testcapi.remove_mem_hooks()
children = {}
for skipped in range(24):
    pid = os.fork()
    if not pid:
        attempt(skipped)
    children[pid] = skipped
for pid, skipped in children.items():
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        print(skipped, code)
task.exception()
"""


@needs_survivor
@needs_failing_allocations
def test_a_stream_that_cannot_become_native_for_lack_of_memory_ends_no_process(
    program: Program,
) -> None:
    if program.module == "asyncio":
        pytest.skip("asyncio's streams stay as they are")
    child = program.run(WRITES_AGAIN, "-W", "ignore")
    assert (child.returncode, child.stdout) == (0, "")


@needs_failing_allocations
@pytest.mark.parametrize("kind", ["stream", "datagram", "pipe"])
def test_a_connection_aborted_without_memory_is_over(program: Program, kind: str) -> None:
    if program.module == "asyncio":
        pytest.skip("abort() raises, and the connection never ends")
    run(
        program,
        f"""
import _testcapi

class Ended(asyncio.DatagramProtocol):
    def __init__(self):
        self.over = asyncio.get_running_loop().create_future()
    def connection_lost(self, error):
        self.over.set_result(error)

async def main():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    if "{kind}" == "stream":
        transport, protocol = await loop.connect_accepted_socket(Ended, ours)
    elif "{kind}" == "pipe":
        transport, protocol = await loop.connect_write_pipe(Ended, ours)
    else:
        ours.close()
        transport, protocol = await loop.create_datagram_endpoint(
            Ended, local_addr=("127.0.0.1", 0))
    abort = transport.abort
    refused = None
    _testcapi.set_nomemory(0)
    try:
        abort()
    except MemoryError as error:
        refused = error
    finally:
        _testcapi.remove_mem_hooks()
    del refused
    await asyncio.wait_for(protocol.over, 10)
    theirs.close()

run(main())
""",
    )


def test_all_classes_exist_once_the_module_is_imported(program: Program) -> None:
    """Without memory, PyO3 panics where it makes a class."""
    source = Path(__file__).parent.parent.parent / "src"
    declared = set[str]()
    for path in source.rglob("*.rs"):
        for attribute, name in re.findall(
            r"^#\[pyclass\((.*)\)\]\n(?:#.*\n)*pub.*struct (\w+)", path.read_text(), re.MULTILINE
        ):
            renamed = re.search(r'name = "(\w+)"', attribute)
            declared.add(renamed[1] if renamed else name)
    output = run(
        program,
        """
import yamanote._yamanote
print(*{made.__name__ for made in object.__subclasses__()} | {"Core"})
""",
    )
    assert len(declared) > 5
    assert declared - {"Core"} <= set(output.split())


@needs_survivor
@needs_failing_allocations
def test_what_is_looked_for_without_memory_is_looked_for_again(program: Program) -> None:
    """The first TLS session asks which OpenSSL there is, and the answer stays."""
    if program.module == "asyncio":
        pytest.skip("asyncio does not look for OpenSSL")
    source = """
import os, ssl
import _testcapi
from yamanote._yamanote import _calls_openssl

refusals = 0
while "REFUSED" in os.environ:
    _testcapi.set_nomemory(refusals, refusals + 1)
    try:
        _calls_openssl()
        break
    except MemoryError:
        refusals += 1
    finally:
        _testcapi.remove_mem_hooks()
print(_calls_openssl())
"""
    asked = [program.run(source, env=env) for env in ({}, {"REFUSED": "1"})]
    assert [child.stderr for child in asked] == ["", ""]
    assert asked[0].stdout == asked[1].stdout
    assert asked[0].stdout


@needs_survivor
@needs_failing_allocations
def test_a_loop_that_could_not_be_made_has_nothing_to_close(program: Program) -> None:
    if program.module == "asyncio":
        pytest.skip("its __del__() looks for what __init__() has not set")
    run(
        program,
        """
import sys
import _testcapi, yamanote

yamanote.new_event_loop().close()
wrong = []
sys.unraisablehook = wrong.append
for number in range(200):
    _testcapi.set_nomemory(number, number + 1)
    try:
        loop = yamanote.new_event_loop()
    except MemoryError:
        continue
    finally:
        _testcapi.remove_mem_hooks()
    loop.close()
assert not [one for one in wrong if isinstance(one.exc_value, AttributeError)], wrong
""",
    )
