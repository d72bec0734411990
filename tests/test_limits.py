"""`Limits`: what they accept, and where they can be set."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

import yamanote
from tests.programs import run_python
from yamanote._limits import parsed

Limits: Any = yamanote.Limits


@pytest.mark.parametrize(
    "limits",
    [
        {"max_connections": 0},
        {"max_connections": -1},
        {"max_connections": 1 << 64},
        {"buffered": 1 << 64},
        {"accept_rate": 10**400},
        {"buffered": 0},
        {"accept_rate": 0},
        {"accept_rate": float("inf")},
        {"accept_rate": float("nan")},
        {"first_byte": 0},
        {"first_byte": -1.0},
        {"handshake": float("nan")},
        {"write_stall": float("inf")},
        {"idle": 1e-4},
        {"idle": 2_000_001},
    ],
)
def test_a_limit_out_of_range_is_refused(limits: dict[str, Any]) -> None:
    (name,) = limits
    with pytest.raises(ValueError, match=name):
        Limits(**limits)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_connections": 1.5},
        {"max_connections": True},
        {"buffered": "1"},
        {"accept_rate": "1"},
        {"first_byte": "1"},
        {"idle": False},
    ],
)
def test_a_limit_of_another_type_is_refused(limits: dict[str, Any]) -> None:
    (name,) = limits
    with pytest.raises(TypeError, match=name):
        Limits(**limits)


def test_limits_of_a_loop_are_set_at_once_or_changed() -> None:
    loop: Any = yamanote.new_event_loop(limits=Limits(max_connections=5, idle=60))
    try:
        assert loop.limits == Limits(max_connections=5, idle=60)
        loop.set_limits(idle=None, first_byte=10)
        assert loop.limits == Limits(max_connections=5, first_byte=10)
        loop.set_limits(Limits(buffered=1_000), handshake=1)
        assert loop.limits == Limits(buffered=1_000, handshake=1)
        for wrong in ({"nothing": 1}, {"idle": "1"}):
            with pytest.raises(TypeError):
                loop.set_limits(**wrong)
        with pytest.raises(TypeError):
            loop.set_limits(5)
        assert loop.limits == Limits(buffered=1_000, handshake=1)
        loop.set_limits()
        assert loop.limits == Limits()
    finally:
        loop.close()


def ignore(_reader: object, _writer: object) -> None:
    """Neither read nor write."""


def test_limits_of_a_server() -> None:
    async def main() -> None:
        server: Any = await asyncio.start_server(ignore, "127.0.0.1", 0)
        async with server:
            assert server.limits is None
            server.set_limits(max_connections=3)
            server.set_limits(idle=1)
            assert server.limits == Limits(max_connections=3, idle=1)
            with pytest.raises(ValueError, match="buffered"):
                server.set_limits(buffered=1_000)
            with pytest.raises(TypeError):
                server.set_limits(nothing=1)
            assert server.limits == Limits(max_connections=3, idle=1)
            server.set_limits()
            assert server.limits is None

    yamanote.run(main())


def test_limits_of_a_transport() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport: Any
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with pytest.raises(TypeError, match="max_connections"):
            transport.set_limits(max_connections=1)
        for wrong in ((1,), (Limits(), Limits())):
            with pytest.raises(TypeError):
                transport.set_limits(*wrong)
        with pytest.raises(ValueError, match="idle"):
            transport.set_limits(idle=-1)
        transport.set_limits(Limits(idle=0.1))
        transport.set_limits(first_byte=60)
        theirs.setblocking(False)
        assert await loop.sock_recv(theirs, 1) == b""  # By `idle`.
        theirs.close()
        transport.set_limits()  # Of a closed one: nothing happens.

    yamanote.run(main())


def test_limits_of_the_environment() -> None:
    text = "max_connections=100, first_byte=10,idle=0.5"
    assert parsed(text) == Limits(max_connections=100, first_byte=10, idle=0.5)
    assert parsed("") == Limits()
    for wrong in ("first=1", "idle", "idle=", "idle=x", "max_connections=1.5", "idle=1,idle=2"):
        with pytest.raises(ValueError, match=wrong.partition("=")[0]):
            parsed(wrong)
    show = "import yamanote; loop = yamanote.Loop(); print(loop.limits.idle); loop.close()"
    child = run_python("-c", show, env={**os.environ, "YAMANOTE_LIMITS": text})
    assert (child.stdout, child.stderr) == ("0.5\n", "")
    child = run_python("-c", show, env={**os.environ, "YAMANOTE_LIMITS": "idle=-1"})
    assert child.stdout == "None\n"
    assert "YAMANOTE_LIMITS is ignored: idle must be" in child.stderr
