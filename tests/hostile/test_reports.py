"""Error reports may fail themselves, or use the loop that they come from in any way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

import pytest

import yamanote

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Generator

    from tests.loops import LoopFactory
    from tests.programs import Program


class Unprintable:
    """A callback whose `repr` raises."""

    def __call__(self, *_: object) -> None:
        """Raises."""
        raise ValueError("the callback's")

    def __repr__(self) -> str:
        """Raises."""
        raise LookupError("the repr's")


def fail() -> None:
    """A callback that raises."""
    raise ValueError("the callback's")


@contextlib.contextmanager
def broken_logger(error: BaseException) -> Generator[None]:
    """Makes asyncio's logger raise, with a filter: exceptions in log handlers are caught."""

    def refuse(_: logging.LogRecord) -> bool:
        raise error

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of calls of `sys.unraisablehook`."""
    told: list[Any] = []

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        told.append(unraisable.exc_value)

    monkeypatch.setattr(sys, "unraisablehook", hook)
    return told


def survives(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether the loop still runs a callback, in this run."""
    loop.call_soon(loop.stop)
    loop.run_forever()
    return True


def echoes(loop: asyncio.AbstractEventLoop) -> bool:
    """Returns whether two streams over the loop still communicate."""

    async def main() -> bytes:
        ours, peer = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=ours)
        peer_reader, peer_writer = await asyncio.open_connection(sock=peer)
        writer.write(b"hello\n")
        line = await peer_reader.readline()
        for end in (writer, peer_writer):
            end.close()
            await end.wait_closed()
        return line

    return loop.run_until_complete(main()) == b"hello\n"


@pytest.mark.parametrize(
    "error", [LookupError("h"), GeneratorExit(), asyncio.CancelledError()], ids=repr
)
def test_an_exception_handler_that_raises_is_logged(
    loop: asyncio.AbstractEventLoop, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(_: asyncio.AbstractEventLoop, __: dict[str, Any]) -> None:
        raise error

    loop.set_exception_handler(handle)
    loop.call_soon(fail)
    assert survives(loop)
    assert "Unhandled error in exception handler" in caplog.text
    assert echoes(loop)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exception_handler_may_end_the_run(
    loop: asyncio.AbstractEventLoop, error: BaseException
) -> None:
    def handle(_: asyncio.AbstractEventLoop, __: dict[str, Any]) -> None:
        raise error

    loop.set_exception_handler(handle)
    loop.call_soon(fail)
    with pytest.raises(type(error)):
        loop.run_forever()
    assert echoes(loop)


def test_a_handler_of_a_fatal_error_may_close_the_transport_stop_and_collect(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ends: list[BaseException | None] = []
    refused: list[type[BaseException]] = []

    class Failing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise ValueError("the protocol's")

        def connection_lost(self, exc: Exception | None) -> None:
            ends.append(exc)
            raise ValueError("and once more")

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        gc.collect()
        transport = context.get("transport")
        if transport is not None:
            transport.write(b"last words")
            transport.abort()
            transport.close()
            repr(transport)
        loop.call_soon(refused.append, ValueError)
        for call in (loop.close, loop.run_forever):
            try:
                call()
            except RuntimeError as error:
                refused.append(type(error))
        loop.stop()

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            await loop.create_connection(Failing, sock=ours)
            peer.send(b"x")
            await asyncio.sleep(3600)

    loop.set_exception_handler(handle)
    task = loop.create_task(main())
    while not ends:
        loop.run_forever()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert len(ends) == 1
    assert refused.count(RuntimeError) >= 4
    assert echoes(loop)


def test_a_callback_that_cannot_be_printed_is_reported(
    loop_factory: LoopFactory, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("on asyncio the error of the repr ends the run")
    loop = loop_factory()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    loop.call_soon(Unprintable())
    loop.call_later(0, Unprintable(), Unprintable())
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert survives(loop)
    loop.close()
    assert [type(context["exception"]) for context in reported] == [ValueError, ValueError]
    assert all("unprintable Unprintable" in context["message"] for context in reported)


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_a_logger_that_raises_does_not_end_the_run(
    unraisable: list[Any], debug: bool, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("on asyncio the logger's error ends the run")
    loop = yamanote.new_event_loop()
    loop.set_debug(debug)
    loop.slow_callback_duration = 0
    refused = LookupError("the logger's")
    with broken_logger(refused):
        loop.call_soon(fail)
        assert survives(loop)
    assert refused in unraisable
    assert echoes(loop)
    loop.close()


def test_a_logger_may_end_the_run(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_exception_handler(None)
    loop.call_soon(fail)
    with broken_logger(SystemExit(3)), pytest.raises(SystemExit):
        loop.run_forever()
    assert echoes(loop)


def test_a_broken_logger_does_not_keep_a_failed_connection_from_ending(
    unraisable: list[Any], loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("on asyncio the logger's error ends the run")
    loop = yamanote.new_event_loop()

    class Failing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise ValueError("the protocol's")

    async def main() -> bytes:
        ours, peer = socket.socketpair()
        with peer:
            peer.setblocking(False)
            await loop.create_connection(Failing, sock=ours)
            peer.send(b"x")
            return await asyncio.wait_for(loop.sock_recv(peer, 10), 30)

    with broken_logger(LookupError("the logger's")):
        assert loop.run_until_complete(main()) == b""
    assert unraisable
    assert echoes(loop)
    loop.close()


def test_call_exception_handler_itself_may_raise(unraisable: list[Any], loop_name: str) -> None:
    if loop_name == "asyncio":
        pytest.skip("on asyncio an error in an overridden call_exception_handler() ends the run")

    class Strict(yamanote.Loop):
        def call_exception_handler(self, context: dict[str, Any]) -> None:
            raise context["exception"]

    loop = Strict()
    loop.call_soon(fail)
    assert survives(loop)
    assert [str(error) for error in unraisable] == ["the callback's"]
    loop.close()


def test_a_hook_for_the_unraisable_that_raises_is_told_of_by_python(program: Program) -> None:
    result = program.run(
        """
        import sys

        def hook(_):
            raise SystemExit(7)

        class Dying:
            def __del__(self):
                raise ValueError("in __del__")
            def __call__(self):
                loop.call_soon(print, "went on")
                loop.call_soon(loop.stop)

        sys.unraisablehook = hook
        loop = new_event_loop()
        loop.call_soon(Dying())
        loop.run_forever()
        loop.close()
        """
    )
    assert (result.returncode, result.stdout) == (0, "went on\n"), result.stderr
    assert "Exception ignored in sys.unraisablehook" in result.stderr


def reenter(loop: asyncio.AbstractEventLoop, transports: list[asyncio.Transport]) -> None:
    """Does what a destructor or a `repr` may do at any time."""
    if loop.is_closed():
        return
    gc.collect()
    for transport in transports:
        transport.write(b"from within")
        transport.abort()
        transport.close()
    loop.call_soon(fail)
    loop.call_later(0, fail)
    with contextlib.suppress(RuntimeError):
        loop.close()
    with contextlib.suppress(RuntimeError):
        loop.run_forever()


def closes_between_runs(loop_name: str) -> None:
    """Skips asyncio where the re-entering code finds the loop stopped, and closes it."""
    if loop_name == "asyncio" and sys.version_info[:2] == (3, 13):
        pytest.skip("asyncio of 3.13 releases them between its steps, and fails on a closed loop")


@pytest.mark.parametrize("ending", [ValueError, SystemExit, KeyboardInterrupt])
@pytest.mark.usefixtures("unraisable")
def test_a_destructor_may_reenter_the_loop_and_raise_anything(
    loop: asyncio.AbstractEventLoop,
    loop_name: str,
    reported: list[dict[str, Any]],
    ending: Callable[[str], BaseException],
) -> None:
    closes_between_runs(loop_name)
    transports: list[asyncio.Transport] = []

    class Dying(asyncio.Protocol):
        """A callback, argument or protocol that is finalized."""

        def __call__(self, *_: object) -> None:
            pass

        def __del__(self) -> None:
            reenter(loop, transports)
            if not loop.is_closed():
                raise ending("in __del__")

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            transport, _ = await loop.create_connection(Dying, sock=ours)
            transports.append(transport)
            loop.call_soon(Dying(), Dying())
            loop.call_later(0, Dying(), Dying()).cancel()
            loop.call_soon(print, Dying()).cancel()
            transport.set_protocol(Dying())
            await asyncio.sleep(0)
            peer.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                while await loop.sock_recv(peer, 1000):
                    pass

    loop.run_until_complete(main())
    transports.clear()
    assert echoes(loop)
    assert {str(context["exception"]) for context in reported} == {"the callback's"}
    reported.clear()


@pytest.mark.usefixtures("unraisable")
def test_a_repr_may_reenter_the_loop(
    loop: asyncio.AbstractEventLoop, loop_name: str, reported: list[dict[str, Any]]
) -> None:
    closes_between_runs(loop_name)
    transports: list[asyncio.Transport] = []

    class Reentering:
        def __call__(self) -> None:
            raise ValueError("the callback's")

        def __repr__(self) -> str:
            reenter(loop, transports)
            return "<Reentering>"

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            transports.append(transport)
            loop.set_debug(True)
            loop.slow_callback_duration = 0
            loop.call_soon(Reentering())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            loop.set_debug(False)

    loop.run_until_complete(main())
    transports.clear()
    assert echoes(loop)
    assert {str(context["exception"]) for context in reported} == {"the callback's"}
    reported.clear()


@pytest.mark.parametrize("clock", [LookupError("no clock"), "noon", None, object()], ids=repr)
def test_a_clock_that_fails_ends_the_run(loop_factory: LoopFactory, clock: object) -> None:
    def time() -> object:
        if isinstance(clock, Exception):
            raise clock
        return clock

    loop = loop_factory()
    loop.call_later(0, print)
    setattr(loop, "time", time)  # noqa: B010 - no checker lets a method be assigned to.
    with pytest.raises((LookupError, TypeError)):
        loop.run_forever()
    loop.close()


def test_a_signal_handler_that_raises_ends_the_run(program: Program) -> None:
    result = program.run(
        """
        import os, signal
        signal.signal(signal.SIGUSR1, lambda *_: 1 / 0)
        loop = new_event_loop()
        loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        reported = []
        loop.set_exception_handler(lambda _, context: reported.append(context))
        try:
            # In the callback that sends it or while the loop waits: it is raised in both cases.
            loop.call_later(0.05, loop.stop)
            loop.run_forever()
        except ZeroDivisionError:
            reported.append({})
        print(len(reported))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        """
    )
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
