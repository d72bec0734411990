"""When are records passed directly to the OpenSSL that `_ssl` is linked with?"""

from __future__ import annotations

import asyncio
import ctypes
import os
import ssl
import sys
import threading
from typing import Any

import pytest

import yamanote
from tests.programs import run_python
from tests.tcp.servers import LOCALHOST, port_of
from tests.tls.certificates import NAME, client_context, server_context
from tests.tls.peers import everything_ends, in_thread
from tests.tls.test_handshake import echo

_ssl: Any = pytest.importorskip("_ssl")


def is_linked() -> bool:
    """Returns whether `_ssl` is linked with a known version of OpenSSL that can be called directly.

    With `YAMANOTE_NO_OPENSSL`, which CI also tests, it is not.
    """
    if os.environ.get("YAMANOTE_NO_OPENSSL"):
        return False
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    return (
        hasattr(library, "SSL_read_ex")
        and ssl.OPENSSL_VERSION.startswith("OpenSSL ")
        and (1, 1, 1) <= ssl.OPENSSL_VERSION_INFO[:3] < (4, 0, 0)
    )


async def is_direct(context: ssl.SSLContext) -> bool:
    """Echoes through a server of ours, and returns the client transport's `_is_direct`."""
    server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
    reader, writer = await asyncio.open_connection(
        LOCALHOST, port_of(server), ssl=context, server_hostname=NAME
    )
    transport: Any = writer.transport
    data = bytes(range(256)) * 1000
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    way: bool = transport._is_direct
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    await everything_ends()
    return way


class Wrapping(ssl.SSLContext):
    """A context that does work before the standard method, as in a library."""

    def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
        """Counts the calls."""
        self.wrapped = True
        return super().wrap_bio(*arguments, **keywords)


def trusting(context: ssl.SSLContext) -> ssl.SSLContext:
    """Returns a context of another class that trusts the tests' authority."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_records_take_the_short_way_where_there_is_one() -> None:
    assert yamanote.run(is_direct(client_context())) is is_linked()


def test_a_context_that_wraps_in_its_own_way_takes_the_long_one() -> None:
    assert not yamanote.run(is_direct(trusting(Wrapping(ssl.PROTOCOL_TLS_CLIENT))))


def test_a_context_that_listens_to_messages_takes_the_long_one() -> None:
    heard: list[str] = []

    def listen(
        _session: object, direction: str, _version: object, _kind: object, _type: object, _: object
    ) -> None:
        heard.append(direction)

    context: Any = client_context()
    context._msg_callback = listen
    assert not yamanote.run(is_direct(context))
    assert {"read", "write"} <= set(heard)


def way_of(program: str, **environment: str) -> bool:
    """Returns `is_direct` for `context`, which `program` creates in a separate process."""
    lines = (
        "import ssl, yamanote",
        "from tests.tls.test_direct import Wrapping, client_context, is_direct, trusting",
        program,
        "print(yamanote.run(is_direct(context)))",
    )
    environment = {"PYTHONPATH": ":".join(sys.path), **environment}
    child = run_python("-c", "\n".join(lines), env=environment)
    assert child.returncode == 0, child.stderr
    return {"True\n": True, "False\n": False}[child.stdout]


def test_an_environment_variable_turns_it_off() -> None:
    assert not way_of("context = client_context()", YAMANOTE_NO_OPENSSL="1")


def test_a_class_in_the_place_of_the_standard_one_takes_the_long_way() -> None:
    """`truststore` replaces the class like this."""
    program = (
        "from tests.tls import test_direct\n"
        "context = trusting(Wrapping(ssl.PROTOCOL_TLS_CLIENT))\n"
        "server = test_direct.server_context()\n"
        "test_direct.server_context = lambda: server\n"
        "ssl.SSLContext = Wrapping"
    )
    assert not way_of(program)


def test_threads_ask_a_session_that_is_at_work(loop: asyncio.AbstractEventLoop) -> None:
    """Threads read properties of a session in use; the connection loses nothing."""
    data = bytes(range(256)) * 400
    over = threading.Event()

    def ask(session: ssl.SSLObject) -> int:
        asked = 0
        while not over.is_set():
            # `None` while a session of asyncio's reads a ticket.
            assert session.version() in {None, "TLSv1.3"}
            assert (session.cipher() or ("", "TLSv1.3", 0))[1] == "TLSv1.3"
            assert session.pending() >= 0
            asked += 1
        return asked

    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        session = writer.get_extra_info("ssl_object")
        asking = [asyncio.ensure_future(in_thread(ask, session)) for _ in range(2)]
        for _ in range(20):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
        over.set()
        assert min(await asyncio.gather(*asking)) > 0
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())
