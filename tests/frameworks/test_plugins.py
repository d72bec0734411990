"""Test plugins that create loops for the tests of their users: pytest-asyncio and anyio."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.programs import run_python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

PYTEST_ASYNCIO_CONFTEST = """
    from {module} import new_event_loop

    def pytest_asyncio_loop_factories(config, item):
        return {{"tested": new_event_loop}}
"""

PYTEST_ASYNCIO = """
    import asyncio
    import pytest
    import pytest_asyncio
    from {module} import new_event_loop

    def is_tested(loop):
        reference = new_event_loop()
        reference.close()
        return type(loop) is type(reference)

    @pytest_asyncio.fixture
    async def served():
        assert is_tested(asyncio.get_running_loop())
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()

    @pytest.mark.asyncio
    async def test_echo(served):
        assert is_tested(asyncio.get_running_loop())
        reader, writer = await asyncio.open_connection(*served)
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close()
        await writer.wait_closed()
"""

ANYIO = """
    import asyncio
    import anyio
    import pytest
    from {module} import new_event_loop

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend():
        return "asyncio", {{"loop_factory": new_event_loop}}

    def is_tested(loop):
        reference = new_event_loop()
        reference.close()
        return type(loop) is type(reference)

    async def test_tasks_and_cancellation():
        assert is_tested(asyncio.get_running_loop())
        done = []

        async def work(number):
            await anyio.sleep(0)
            done.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(work, number)
        assert sorted(done) == [0, 1, 2, 3, 4]
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught

    async def test_streams():
        async def echo(reader, writer):
            writer.write(await reader.readexactly(5))
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            async with await anyio.connect_tcp(*server.sockets[0].getsockname()) as client:
                await client.send(b"hello")
                assert await client.receive() == b"hello"
                with pytest.raises(anyio.EndOfStream):
                    await client.receive()

    async def test_threads():
        assert await anyio.to_thread.run_sync(lambda: anyio.from_thread.run_sync(int, "42")) == 42
"""

ANYIO_LISTENER = """
    import anyio
    import pytest
    from {module} import new_event_loop

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend():
        return "asyncio", {{"loop_factory": new_event_loop}}

    async def test_listener():
        async def echo(stream):
            async with stream:
                await stream.send(await stream.receive())

        async with await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=0
        ) as listener:
            address = listener.extra(anyio.abc.SocketAttribute.local_address)
            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, echo)
                async with await anyio.connect_tcp(*address) as client:
                    await client.send(b"hello")
                    assert await client.receive() == b"hello"
                group.cancel_scope.cancel()
"""


def run_pytest(
    directory: Path, module: str, *sources: tuple[str, str], options: tuple[str, ...]
) -> str:
    """Runs pytest on files with `sources`, and returns its last line."""
    for name, source in sources:
        lines = source.format(module=module).splitlines()
        (directory / name).write_text("\n".join(line[4:] for line in lines))
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = run_python(
        "-m",
        "pytest",
        "-q",
        *options,
        str(directory),
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_pytest_asyncio_takes_a_loop_factory(loop_name: str, tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio", "1.4", reason="its loop factories came with 1.4")
    closing_line = run_pytest(
        tmp_path,
        loop_name,
        ("conftest.py", PYTEST_ASYNCIO_CONFTEST),
        ("test_it.py", PYTEST_ASYNCIO),
        options=(
            "-p",
            "pytest_asyncio.plugin",
            "-o",
            "asyncio_default_fixture_loop_scope=function",
        ),
    )
    assert closing_line.startswith("1 passed")


def test_anyio_takes_a_loop_factory(loop_name: str, tmp_path: Path) -> None:
    closing_line = run_pytest(
        tmp_path, loop_name, ("test_it.py", ANYIO), options=("-p", "anyio.pytest_plugin")
    )
    assert closing_line.startswith("3 passed")


def test_anyio_listens(loop_name: str, tmp_path: Path) -> None:
    closing_line = run_pytest(
        tmp_path, loop_name, ("test_it.py", ANYIO_LISTENER), options=("-p", "anyio.pytest_plugin")
    )
    assert closing_line.startswith("1 passed")
