"""Calls of the kernel that fail, once or for good: nothing falls silent, and no loop ends."""

from __future__ import annotations

import errno
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.hostile.faults import CONTROL

if TYPE_CHECKING:
    from tests.hostile.faults import Faults
    from tests.programs import Program

#: What accept(2) may answer for one connection, and what it lacks; the kernel's own order.
ACCEPT_ERRORS = [
    errno.EPERM,
    errno.EINVAL,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.ECONNABORTED,
    errno.ETIMEDOUT,
    errno.EIO,
]

SERVER = """
async def visit(path):
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()

async def serve(reader, writer):
    writer.write(b"hi")
    writer.close()
"""


def test_a_server_accepts_after_any_error_of_a_connection_that_waited(
    program: Program, faults: Faults
) -> None:
    source = f"""
    async def main():
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
        with tempfile.TemporaryDirectory() as folder:
            server = await asyncio.start_unix_server(serve, folder + "/socket")
            for error in {ACCEPT_ERRORS}:
                # asyncio takes EPERM from either call for what it is; we ask accept() then.
                both = [f"{{name}}={{error}}@1-2" for name in ("accept4", "accept")]
                fail(*both)
                contexts.clear()
                assert await visit(folder + "/socket") == b"hi", error
                assert calls("accept4") > 1, error
                assert bool(contexts) == (error != errno.ECONNABORTED), (error, contexts)
                for context in contexts:
                    assert context["exception"].errno == error, context
                fail()
                assert await visit(folder + "/socket") == b"hi", error
            server.close()
        print("served")

    run(main())
    """
    source = "import tempfile" + CONTROL + SERVER + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOBUFS, errno.EINVAL, errno.ENETDOWN])
def test_a_server_that_cannot_accept_for_long_accepts_when_it_can(
    program: Program, faults: Faults, error: int
) -> None:
    source = f"""
    async def main():
        asyncio.constants.ACCEPT_RETRY_DELAY = 0.001
        often = asyncio.Event()
        contexts = []

        def note(_, context):
            contexts.append(context["exception"].errno)
            if len(contexts) == 30:
                often.set()

        asyncio.get_running_loop().set_exception_handler(note)
        with tempfile.TemporaryDirectory() as folder:
            server = await asyncio.start_unix_server(serve, folder + "/socket")
            fail("accept4={error}@1-0")
            visits = [asyncio.create_task(visit(folder + "/socket")) for _ in range(3)]
            await often.wait()
            fail()
            assert await asyncio.gather(*visits) == [b"hi"] * 3
            assert set(contexts) == {{{error}}}
            server.close()
        print("served")

    run(main())
    """
    source = "import tempfile" + CONTROL + SERVER + textwrap.dedent(source)
    done = program.run(source, env=faults.environment())
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)
