"""Objects that are dropped while no loop is running are freed at once, as on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loops import LoopFactory

#: Calls a function on some thread.
Where = Callable[[Callable[[], None]], None]


class Watched:
    """Records its own finalization."""

    def __init__(self, gone: list[str], name: str) -> None:
        """Stores the list to record it in."""
        self.gone = gone
        self.name = name

    def __call__(self, *_: object) -> None:
        """Do nothing: a callback."""

    def __del__(self) -> None:
        """Records it."""
        self.gone.append(self.name)


REFUSED: dict[str, Callable[[Any, Any], object]] = {
    "call_soon": lambda loop, it: loop.call_soon(it, it),
    "call_soon with a context": lambda loop, it: loop.call_soon(it, it, context=None),
    "call_soon with six arguments": lambda loop, it: loop.call_soon(it, it, it, it, it, it, it),
    "call_soon_threadsafe": lambda loop, it: loop.call_soon_threadsafe(it, it),
    "call_later": lambda loop, it: loop.call_later(1, it, it),
    "call_at": lambda loop, it: loop.call_at(1, it, it),
    "an unknown name": lambda loop, it: loop.call_soon(it, it, unknown=it),
    "a name that is no text": lambda loop, it: loop.call_soon(it, **{"\ud800": it}),
    "no callback": lambda loop, it: loop.call_soon(),
    "no number": lambda loop, it: loop.call_later(it, it),
    "no delay": lambda loop, it: loop.call_later(None, it),
    "add_reader": lambda loop, it: loop.add_reader(-1, it, it),
    "remove_reader": lambda loop, it: loop.remove_reader(it),
    "run_forever": lambda loop, it: loop.run_forever(),
    "create_task": lambda loop, it: loop.create_task(it),
    "time": lambda loop, it: loop.time(it),
    "is_running": lambda loop, it: loop.is_running(it),
    "set_debug": lambda loop, it: loop.set_debug(),
}


@pytest.fixture(params=["here", "on another thread"])
def where(request: pytest.FixtureRequest) -> Where:
    """Calls on this thread, and on a thread that the loop does not know."""

    def elsewhere(work: Callable[[], None]) -> None:
        failures: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    return (lambda work: work()) if request.param == "here" else elsewhere


@pytest.mark.parametrize("call", REFUSED)
def test_a_refused_call_keeps_nothing(loop_factory: LoopFactory, where: Where, call: str) -> None:
    loop = loop_factory()
    loop.close()
    gone: list[str] = []

    def refuse(name: str) -> None:
        with pytest.raises((RuntimeError, TypeError, ValueError, AttributeError)):
            REFUSED[call](loop, Watched(gone, name))

    def work() -> None:
        for name in "abc":
            refuse(name)
            assert "".join(gone)[-1] == name
        gc.collect()

    where(work)


def refused_calls(loop: Any, count: int) -> None:  # noqa: ANN401 - It is called wrongly.
    """Makes calls that fail, with exceptions that are not kept."""
    for _ in range(count):
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(print)
        with contextlib.suppress(RuntimeError, TypeError):
            loop.call_later(1, print, context=1, unknown=2)


def test_refused_calls_take_no_memory(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    loop.close()
    refused_calls(loop, 100)
    gc.collect()
    before = sys.getallocatedblocks()
    refused_calls(loop, 3000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000


def test_what_a_handle_holds_goes_when_it_is_cancelled(
    loop: asyncio.AbstractEventLoop, where: Where
) -> None:
    gone: list[str] = []
    schedule: tuple[Callable[..., asyncio.Handle], ...] = (
        loop.call_soon,
        loop.call_soon_threadsafe,
        lambda *call: loop.call_later(3600, *call),
    )

    def work() -> None:
        # Created on this thread: without a GIL, objects of another thread are freed there, later.
        for make in schedule:
            for count in (0, 1, 4, 5):
                gone.clear()
                arguments = [Watched(gone, "argument") for _ in range(count)]
                handle = make(Watched(gone, "callback"), *arguments)
                del arguments
                handle.cancel()
                assert gone == ["callback", *["argument"] * count]

    where(work)


class Protocol(asyncio.Protocol):
    """A protocol that supports weak references."""


@pytest.fixture
def transport(
    loop: asyncio.AbstractEventLoop,
) -> Iterator[tuple[asyncio.Transport, weakref.ref[Protocol]]]:
    """Returns an open transport, and its protocol, to which there is no other reference."""
    left, right = socket.socketpair()
    with right:
        made = loop.run_until_complete(loop.create_connection(Protocol, sock=left))
        protocol = weakref.ref(made[1])
        transport = made[0]
        del made
        yield transport, protocol
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))


def test_a_replaced_protocol_goes_at_once(
    transport: tuple[asyncio.Transport, weakref.ref[Protocol]],
) -> None:
    stream, first = transport
    assert first() is not None
    second = Protocol()
    watched = weakref.ref(second)
    stream.set_protocol(second)
    assert first() is None
    del second
    stream.set_protocol(Protocol())
    assert watched() is None


def test_what_a_native_coroutine_holds_goes_when_it_is_closed(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    class Buffer(bytearray):
        """A buffer that supports weak references."""

    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        # A coroutine written in Python keeps its arguments until it is dropped.
        for end in ("drop",) if loop_name == "asyncio" else ("close", "throw", "drop"):
            buffer = Buffer(b"x")
            watched = weakref.ref(buffer)
            call: Any = loop.sock_recv_into(left, buffer)
            del buffer
            assert watched() is not None
            if end == "throw":
                error = KeyError("x")
                with pytest.raises(KeyError):
                    call.throw(error)
                error.__traceback__ = None
            else:
                call.close()
            if end == "drop":
                del call
            assert watched() is None, end
        call = None


def test_the_order_of_finalizers_is_that_of_the_drops(loop_factory: LoopFactory) -> None:
    gone: list[str] = []
    loop = loop_factory()
    handles = [loop.call_soon(Watched(gone, f"{number}")) for number in range(5)]
    handles[3].cancel()
    gone.append("cancelled")
    handles.clear()
    gone.append("dropped")
    loop.close()
    gone.append("closed")
    assert gone == ["3", "cancelled", "dropped", "0", "1", "2", "4", "closed"]
