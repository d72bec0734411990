"""`nest_asyncio`: a loop that runs again inside one of its callbacks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.programs import Program

MODULES = ["nest_asyncio", "nest_asyncio2"]
NESTS = pytest.mark.parametrize("module", MODULES)


def nested(program: Program, module: str, source: str, output: str) -> None:
    """Runs `source` with the `apply` of `module`, and expects exactly `output`."""
    pytest.importorskip(module, reason=f"{module} is not installed with the tests' requirements")
    # `nest_asyncio` uses deprecated functions; warnings are not the subject of these tests.
    preamble = f"import warnings\nwarnings.simplefilter('ignore')\nfrom {module} import apply\n"
    done = program.run(preamble + source)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def supported(program: Program, module: str) -> None:
    if program.module == "asyncio" and module == "nest_asyncio" and sys.version_info >= (3, 14):
        pytest.skip(
            "nest_asyncio 1.6.0 puts Python tasks in place that have no current task on 3.14"
        )


@NESTS
def test_apply_lets_a_loop_run_inside_its_own_callbacks(program: Program, module: str) -> None:
    supported(program, module)
    source = """
loop = new_event_loop()
asyncio.set_event_loop(loop)
apply(loop)

async def inner(depth):
    await asyncio.sleep(0.001)
    if depth:
        return depth + loop.run_until_complete(inner(depth - 1))
    return 0

async def outer():
    task = asyncio.current_task()
    assert loop.run_until_complete(inner(5)) == 15
    assert asyncio.current_task() is task
    assert asyncio.get_running_loop() is loop
    try:
        loop.run_until_complete(fails())
    except ZeroDivisionError:
        pass
    # What was scheduled outside also runs inside.
    ticks = []
    ticking = asyncio.ensure_future(tick(ticks))
    while len(ticks) < 3:
        loop.run_until_complete(asyncio.sleep(0.001))
    await ticking
    return "nested"

async def tick(ticks):
    for number in range(3):
        await asyncio.sleep(0.001)
        ticks.append(number)

async def fails():
    await asyncio.sleep(0)
    1 / 0

print(loop.run_until_complete(outer()))
print(loop.run_until_complete(outer()), loop.is_running())
loop.close()
"""
    nested(program, module, source, "nested\nnested False\n")


@NESTS
def test_apply_inside_a_running_loop_lets_it_run_again(program: Program, module: str) -> None:
    supported(program, module)
    source = """
async def main():
    apply()
    return asyncio.run(asyncio.sleep(0.001, "inside"))

loop = new_event_loop()
asyncio.set_event_loop(loop)
print(loop.run_until_complete(main()))
# And those that are created afterwards.
other = new_event_loop()
asyncio.set_event_loop(other)
apply(other)
print(other.run_until_complete(asyncio.sleep(0.001, "after")))
loop.close()
other.close()
"""
    nested(program, module, source, "inside\nafter\n")


@NESTS
def test_sockets_and_threads_serve_an_inner_run(program: Program, module: str) -> None:
    supported(program, module)
    source = """
loop = new_event_loop()
asyncio.set_event_loop(loop)
apply(loop)

async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line)
    writer.close()

async def ask(reader, writer, line):
    writer.write(line)
    await writer.drain()
    return await reader.readline()

class Asking(asyncio.Protocol):
    \"\"\"Asks the server from within a callback of a transport.\"\"\"

    def __init__(self, peer, done):
        self.peer, self.done, self.got = peer, done, b""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"first\\n")

    def data_received(self, data):
        self.got += data
        if data == b"first\\n":
            # More comes for this very protocol while the inner run goes on.
            self.transport.write(b"second\\n")
            answer = loop.run_until_complete(ask(*self.peer, b"inner\\n"))
            loop.run_until_complete(asyncio.sleep(0.005))
            assert answer == b"inner\\n"
            assert loop.run_until_complete(loop.run_in_executor(None, abs, -5)) == 5
        if self.got == b"first\\nsecond\\n":
            self.transport.close()
            self.done.set_result("served")

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    peer = await asyncio.open_connection(*address)
    done = loop.create_future()
    await loop.create_connection(lambda: Asking(peer, done), *address)
    result = await done
    peer[1].close()
    await peer[1].wait_closed()
    server.close()
    await asyncio.sleep(0.001)
    return result

print(loop.run_until_complete(main()))
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
"""
    if program.module == "asyncio":
        pytest.skip("asyncio enters the transport's context twice, and reports an error each turn")
    nested(program, module, source, "served\n")


@NESTS
def test_stop_ends_the_inner_run_and_the_outer_one(program: Program, module: str) -> None:
    supported(program, module)
    source = """
loop = new_event_loop()
asyncio.set_event_loop(loop)
apply(loop)

async def outer():
    loop.call_soon(loop.stop)
    never = loop.create_future()
    try:
        loop.run_until_complete(never)
    except RuntimeError as error:
        print(error)
    await never

task = loop.create_task(outer())
try:
    loop.run_until_complete(task)
except RuntimeError as error:
    print(error)
task.cancel()
try:
    loop.run_until_complete(task)
except asyncio.CancelledError:
    print("cancelled")
loop.close()
"""
    stopped = "Event loop stopped before Future completed.\n"
    if program.module == "asyncio":
        pytest.skip("nest_asyncio's own loops forget to clear the flag")
    nested(program, module, source, stopped * 2 + "cancelled\n")


@NESTS
def test_requests_nest_under_uvicorn(program: Program, module: str) -> None:
    supported(program, module)
    source = """
import uvicorn

loop = new_event_loop()
asyncio.set_event_loop(loop)
apply(loop)

async def fetch(path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET " + path + b" HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\\r\\n\\r\\n")[2]

async def application(scope, receive, send):
    depth = int(scope["path"][1:])
    # As in a synchronous library that is called by a handler.
    body = loop.run_until_complete(fetch(b"/%d" % (depth - 1))) if depth else b""
    body += b"%d" % depth
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})

async def main():
    global port
    config = uvicorn.Config(application, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(await asyncio.gather(fetch(b"/3"), fetch(b"/2")))
    server.should_exit = True
    await serving

loop.run_until_complete(main())
loop.close()
"""
    nested(program, module, source, "[b'0123', b'012']\n")


def test_without_apply_a_loop_does_not_nest(program: Program) -> None:
    source = """
async def main():
    loop = asyncio.get_running_loop()
    inner = asyncio.sleep(0)
    try:
        loop.run_until_complete(inner)
    except RuntimeError as error:
        print(error)
    inner.close()

run(main())
loop = new_event_loop()
print(hasattr(loop, "_nest_patched"))
loop.close()
"""
    done = program.run(source)
    expected = "This event loop is already running\nFalse\n"
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
