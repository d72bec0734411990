"""The `sock_*` calls are coroutines, for asyncio and for code that drives them by hand."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import sys
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.sock.pairs import cancelled, turns

if TYPE_CHECKING:
    from tests.loops import LoopFactory
    from tests.sock.pairs import Pair


def test_asyncio_takes_a_call_for_a_coroutine(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        call = loop.sock_recv(ours, 1)
        assert asyncio.iscoroutine(call)
        assert inspect.isawaitable(call)
        assert isinstance(call, collections.abc.Coroutine)
        assert repr(call).startswith("<coroutine object ")
        call.close()
        theirs.send(b"abcdef")
        assert await asyncio.create_task(loop.sock_recv(ours, 1)) == b"a"
        assert await asyncio.ensure_future(loop.sock_recv(ours, 1)) == b"b"
        assert await asyncio.wait_for(loop.sock_recv(ours, 1), 10) == b"c"
        both = await asyncio.gather(loop.sock_recv(ours, 1), loop.sock_recv(ours, 1))
        assert list(both) == [b"d", b"e"]
        done, _ = await asyncio.wait([asyncio.ensure_future(loop.sock_recv(ours, 1))])
        assert [task.result() for task in done] == [b"f"]

    loop.run_until_complete(main())
    theirs.send(b"g")
    assert loop.run_until_complete(loop.sock_recv(ours, 1)) == b"g"


def test_another_thread_may_have_a_call_run(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    received: list[bytes] = []

    def ask() -> None:
        future = asyncio.run_coroutine_threadsafe(loop.sock_recv(ours, 10), loop)
        theirs.send(b"x")
        received.append(future.result())
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ask)
    thread.start()
    loop.run_forever()
    thread.join()
    assert received == [b"x"]


def test_nothing_happens_before_the_await(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")

    async def main() -> None:
        call = loop.sock_recv(ours, 10)
        refused = loop.sock_recv(ours, -1)
        await turns()
        call.close()
        refused.close()
        assert await loop.sock_recv(ours, 10) == b"x"

    loop.run_until_complete(main())


def test_a_call_that_is_never_awaited_is_warned_of(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[Any] = [loop.sock_recv(pair[0], 10)]
    with pytest.warns(RuntimeWarning, match=r"coroutine '\w+\.sock_recv' was never awaited"):
        calls.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.sock_recv(pair[0], 10).close()
        gc.collect()


def test_a_call_that_need_not_wait_makes_no_future(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    for call, value in [
        (loop.sock_recv(ours, 10), b"x"),
        (loop.sock_sendall(ours, b"x"), None),
    ]:
        with pytest.raises(StopIteration) as caught:
            call.send(None)
        assert caught.value.value == value
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            call.send(None)
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            call.throw(ZeroDivisionError())
        call.close()


def test_a_call_that_waits_yields_a_future(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, _ = pair
    call = loop.sock_recv(ours, 10)
    future: Any = call.send(None)
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        call.send(None)
    call.close()


@pytest.mark.parametrize(
    "thrown",
    [
        (ZeroDivisionError("no"),),
        (ZeroDivisionError,),
        (ZeroDivisionError, "no"),
        (ZeroDivisionError, ZeroDivisionError("no"), None),
    ],
)
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.filterwarnings("ignore:the .* signature of throw:DeprecationWarning")
def test_what_is_thrown_in_comes_out(
    loop: asyncio.AbstractEventLoop, pair: Pair, thrown: tuple[Any, ...], started: bool
) -> None:
    ours, _ = pair
    call = loop.sock_recv(ours, 10)
    if started:
        call.send(None)
    with pytest.raises(ZeroDivisionError) as caught:
        call.throw(*thrown)
    assert str(caught.value) in {"", "no"}
    with pytest.raises(RuntimeError, match="cannot reuse"):
        call.send(None)
    # asyncio keeps watching, without a waiter.
    assert loop.remove_reader(ours) == (started and isinstance(loop, asyncio.SelectorEventLoop))


def test_only_exceptions_can_be_thrown(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    call: Any = loop.sock_recv(pair[0], 10)
    with pytest.raises(TypeError):
        call.throw(1)
    call.close()


def test_a_task_tells_what_it_does(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    async def main() -> None:
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await turns()
        assert ".sock_recv()" in repr(task)
        assert "wait_for=<Future pending" in repr(task)
        task.get_stack()
        await cancelled(task)

    loop.run_until_complete(main())


def test_a_finished_call_lets_go_of_its_arguments(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    class Buffer(bytearray):
        """A buffer that supports weak references."""

    ours, theirs = pair

    async def main() -> None:
        theirs.send(b"x")
        buffer = Buffer(1)
        watch = weakref.ref(buffer)
        call = loop.sock_recv_into(ours, buffer)
        del buffer
        assert watch() is not None
        await call
        gc.collect()
        assert watch() is None

    loop.run_until_complete(main())


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(), reason="with the GIL, any thread may do this"
)
def test_a_thread_that_does_not_run_the_loop_cannot_drive_a_call(
    loop_factory: LoopFactory, loop_name: str, pair: Pair
) -> None:
    if loop_name != "yamanote":
        pytest.skip("asyncio does not check it")
    loop = loop_factory()
    ours, _ = pair

    async def main() -> None:
        call = loop.sock_recv(ours, 10)
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            await asyncio.to_thread(call.send, None)
        call.close()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
