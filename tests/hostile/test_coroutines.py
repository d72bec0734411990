"""The loop's own coroutines follow Python's rules for coroutines."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A connected socket that has nothing to read."""
    with contextlib.ExitStack() as opened:
        one, _ = (opened.enter_context(end) for end in socket.socketpair())
        one.setblocking(False)
        yield one


@pytest.mark.parametrize("thrown", [StopIteration, type("Own", (StopIteration,), {})])
def test_a_stop_iteration_that_is_thrown_in_is_no_end(
    loop: asyncio.AbstractEventLoop,
    loop_name: str,
    sock: socket.socket,
    thrown: type[StopIteration],
) -> None:
    if loop_name == "asyncio" and sys.version_info >= (3, 12):
        pytest.skip("newer interpreters allow this for a coroutine that has not started")
    call = loop.sock_recv(sock, 1)
    with pytest.raises(RuntimeError, match="coroutine raised StopIteration") as caught:
        call.throw(thrown)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert caught.value.__context__ is caught.value.__cause__


def test_nothing_can_be_sent_to_what_has_not_begun(
    loop: asyncio.AbstractEventLoop, sock: socket.socket
) -> None:
    call: Any = loop.sock_recv(sock, 1)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        call.send(1)
    # It has not started, so it may still be awaited.
    assert call.send(None) is not None
    call.close()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("call_soon", ()),
        ("call_soon_threadsafe", ()),
        ("call_later", (1,)),
        ("call_later", (None, int)),
        ("call_later", (int, int)),
        ("call_at", (1,)),
        ("call_at", (None, int)),
    ],
)
def test_a_closed_loop_looks_at_arguments_first(
    loop: asyncio.AbstractEventLoop, name: str, arguments: tuple[object, ...]
) -> None:
    loop.close()
    with pytest.raises(TypeError):
        getattr(loop, name)(*arguments)
    delays: tuple[Any, ...] = (1, 1j)
    for delay in delays:
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_later(delay, int)
