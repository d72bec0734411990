"""`add_reader` and `add_writer`: level-triggered, replaceable, safe when descriptors are reused."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import re
import socket
import weakref
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.processes import LINUX
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected non-blocking sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def fill(sock: socket.socket) -> None:
    """Sends until the kernel accepts no more."""
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        return


def drain(sock: socket.socket) -> int:
    """Receives all there is; returns the number of bytes."""
    total = 0
    try:
        while chunk := sock.recv(65536):
            total += len(chunk)
    except BlockingIOError:
        pass
    return total


def turns(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Runs `count` turns."""
    for _ in range(count):
        run_one_turn(loop)


def test_a_reader_is_called_as_long_as_there_is_something_to_read(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    calls: list[int] = []
    loop.add_reader(ours, lambda: calls.append(1))
    turns(loop, 3)
    assert calls == []
    theirs.send(b"abc")
    turns(loop, 5)
    assert len(calls) >= 4
    assert ours.recv(10) == b"abc"
    turns(loop, 2)
    calls.clear()
    turns(loop, 3)
    assert calls == []


def test_a_reader_that_reads_one_byte_at_a_time_gets_them_all(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    received: list[bytes] = []

    def read() -> None:
        received.append(ours.recv(1))
        if len(received) == 100:
            loop.stop()

    loop.add_reader(ours, read)
    theirs.send(bytes(range(100)))
    loop.run_forever()
    assert b"".join(received) == bytes(range(100))


def test_a_reader_is_told_of_the_end(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    received: list[bytes] = []

    def read() -> None:
        received.append(ours.recv(10))
        if not received[-1]:
            loop.stop()

    loop.add_reader(ours, read)
    theirs.send(b"last")
    theirs.close()
    loop.run_forever()
    assert received == [b"last", b""]


def test_a_writer_is_called_as_long_as_there_is_room(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    calls: list[int] = []
    loop.add_writer(ours, lambda: calls.append(1))
    turns(loop, 4)
    assert len(calls) >= 3
    fill(ours)
    turns(loop, 2)
    calls.clear()
    turns(loop, 3)
    assert calls == []
    assert drain(theirs) > 0
    turns(loop, 4)
    assert calls
    loop.remove_writer(ours)


def test_reader_and_writer_of_one_descriptor_are_independent(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    calls: list[str] = []
    loop.add_reader(ours, calls.append, "read")
    loop.add_writer(ours, calls.append, "write")
    theirs.send(b"x")
    turns(loop, 3)
    assert set(calls) == {"read", "write"}
    assert loop.remove_writer(ours)
    calls.clear()
    turns(loop, 3)
    assert set(calls) == {"read"}
    loop.add_writer(ours, calls.append, "write")
    assert loop.remove_reader(ours)
    calls.clear()
    turns(loop, 3)
    assert set(calls) == {"write"}
    assert loop.remove_writer(ours)


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_removing_says_whether_there_was_something(
    loop: asyncio.AbstractEventLoop, pair: Pair, kind: str
) -> None:
    add: Callable[..., object] = getattr(loop, f"add_{kind}")
    remove: Callable[[object], bool] = getattr(loop, f"remove_{kind}")
    assert remove(pair[0]) is False
    add(pair[0], print)
    assert remove(pair[0]) is True
    assert remove(pair[0]) is False
    assert remove(pair[0].fileno()) is False


def test_adding_again_replaces_the_callback(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[str] = []
    loop.add_reader(ours, calls.append, "first")
    loop.add_reader(ours.fileno(), calls.append, "second")
    theirs.send(b"x")
    turns(loop, 3)
    assert set(calls) == {"second"}


def test_a_reader_may_remove_itself(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[bool] = []
    loop.add_reader(ours, lambda: calls.append(loop.remove_reader(ours)))
    theirs.send(b"x")
    turns(loop, 4)
    assert calls == [True]


def test_a_reader_may_remove_another_that_is_ready_too(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    """The callback that runs first removes the other, which then must not run."""
    calls: list[int] = []

    def read(number: int) -> None:
        calls.append(number)
        loop.remove_reader(pair[0])
        loop.remove_reader(pair[1])

    for number in range(2):
        loop.add_reader(pair[number], read, number)
        pair[1 - number].send(b"x")
    turns(loop, 3)
    assert len(calls) == 1


def test_a_reader_runs_in_the_context_it_was_added_in(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")
    ours, theirs = pair
    seen: list[str] = []
    token = variable.set("when added")
    loop.add_reader(ours, lambda: seen.append(variable.get()))
    variable.reset(token)
    theirs.send(b"x")
    turns(loop, 2)
    assert set(seen) == {"when added"}


def test_a_reader_that_raises_is_reported_and_stays(
    loop: asyncio.AbstractEventLoop, pair: Pair, reported: list[dict[str, object]]
) -> None:
    ours, theirs = pair
    received: list[bytes] = []

    def read() -> None:
        received.append(ours.recv(1))
        raise ZeroDivisionError

    loop.add_reader(ours, read)
    theirs.send(b"ab")
    turns(loop, 4)
    assert received == [b"a", b"b"]
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError] * 2
    reported.clear()


def test_a_descriptor_that_is_closed_and_reused_gets_no_old_events(
    loop: asyncio.AbstractEventLoop,
) -> None:
    calls: list[str] = []
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    loop.add_reader(ours, calls.append, "old")
    run_one_turn(loop)
    theirs.send(b"x")
    assert loop.remove_reader(ours)
    ours.close()
    theirs.close()
    new, its_peer = socket.socketpair()
    with new, its_peer:
        # The lowest free number is reused; otherwise there is nothing to test.
        same = new if new.fileno() == number else its_peer
        assert same.fileno() == number
        other = its_peer if same is new else new
        loop.add_reader(same, calls.append, "new")
        turns(loop, 3)
        assert calls == []
        other.send(b"x")
        turns(loop, 3)
        assert set(calls) == {"new"}
        loop.remove_reader(same)


def test_a_number_that_is_reused_at_once_gets_no_events_of_its_old_file(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A file stays open under another number, or in another process, which was given it."""
    calls: list[str] = []
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    loop.add_reader(ours, calls.append, "old")
    run_one_turn(loop)
    kept = ours.dup()
    loop.remove_reader(ours)
    ours.close()
    new, its_peer = socket.socketpair()
    with theirs, kept, new, its_peer:
        same = new if new.fileno() == number else its_peer
        assert same.fileno() == number
        other = its_peer if same is new else new
        loop.add_reader(same, calls.append, "new")
        theirs.send(b"x")
        turns(loop, 5)
        assert calls == []
        other.send(b"x")
        turns(loop, 3)
        assert set(calls) == {"new"}
        loop.remove_reader(same)


def test_a_watch_that_is_removed_and_added_again_in_one_turn_is_served(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    calls: list[str] = []
    for _ in range(3):
        loop.add_reader(ours, calls.append, "read")
        loop.add_writer(ours, calls.append, "write")
        assert loop.remove_reader(ours)
        assert loop.remove_writer(ours)
        loop.add_reader(ours, calls.append, "read")
        turns(loop, 3)
        assert calls == []
        theirs.send(b"x")
        turns(loop, 3)
        assert set(calls) == {"read"}
        assert ours.recv(10) == b"x"
        assert loop.remove_reader(ours)
        loop.add_writer(ours, calls.append, "write")
        turns(loop, 2)
        calls.clear()
        turns(loop, 3)
        assert set(calls) == {"write"}
        assert loop.remove_writer(ours)
        turns(loop, 2)
        calls.clear()


def test_a_watch_that_was_removed_and_closed_cannot_be_added_again(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, _ = pair
    number = ours.fileno()
    for add, remove in (
        (loop.add_reader, loop.remove_reader),
        (loop.add_writer, loop.remove_writer),
    ):
        add(number, print)
        remove(number)
    ours.close()
    for add in (loop.add_reader, loop.add_writer):
        with pytest.raises(OSError, match="Bad file descriptor"):
            add(number, print)
    run_one_turn(loop)


def test_a_pipe_can_be_read_and_written(loop: asyncio.AbstractEventLoop) -> None:
    read_end, write_end = os.pipe()
    try:
        os.set_blocking(read_end, False)
        os.set_blocking(write_end, False)
        received: list[bytes] = []

        def write() -> None:
            os.write(write_end, b"through the pipe")
            loop.remove_writer(write_end)

        def read() -> None:
            received.append(os.read(read_end, 100))
            loop.remove_reader(read_end)
            loop.stop()

        loop.add_reader(read_end, read)
        loop.add_writer(write_end, write)
        loop.run_forever()
        assert received == [b"through the pipe"]
    finally:
        os.close(read_end)
        os.close(write_end)


class Fileno:
    """An object with a `fileno()` that returns or raises `what`."""

    def __init__(self, what: object) -> None:
        """Start with what to return or raise."""
        self.what = what

    def fileno(self) -> int:
        """Return or raise it."""
        if isinstance(self.what, Exception):
            raise self.what
        return cast("int", self.what)


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        (AttributeError(), ValueError, "Invalid file object: <"),
        (TypeError(), ValueError, "Invalid file object: <"),
        (ValueError(), ValueError, "Invalid file object: <"),
        (KeyError("own"), KeyError, "'own'"),
        ("text", ValueError, "Invalid file object: <"),
        (None, ValueError, "Invalid file object: <"),
        (-1, ValueError, "Invalid file descriptor: -1"),
        (-(2**70), ValueError, "Invalid file descriptor: -11805"),
        (2**31, OverflowError, ""),
        (2**70, OverflowError, ""),
    ],
)
def test_a_fileno_that_is_not_one_is_refused_as_on_asyncio(
    loop: asyncio.AbstractEventLoop, what: object, error: type[Exception], text: str
) -> None:
    for add in (loop.add_reader, loop.add_writer):
        with pytest.raises(error) as caught:
            add(Fileno(what), print)
        assert str(caught.value).startswith(text)
    if error is OverflowError:
        assert not loop.remove_reader(Fileno(what))
        return
    with pytest.raises(error) as caught:
        loop.remove_reader(Fileno(what))
    assert str(caught.value).startswith(text)


def test_a_fileno_is_converted_to_an_int(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    class Number(int):
        """Like an enumeration's member."""

    for fd in (Fileno(str(pair[0].fileno())), Number(pair[0].fileno())):
        loop.add_reader(fd, print)
        assert loop.remove_reader(fd)


def test_arguments_may_be_passed_by_name(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    loop.add_reader(fd=pair[0], callback=print)
    loop.add_writer(pair[0], callback=print)
    assert loop.remove_reader(fd=pair[0])
    assert loop.remove_writer(fd=pair[0])
    wrong: Any = loop
    with pytest.raises(TypeError, match="context"):
        wrong.add_reader(pair[0], print, context=contextvars.copy_context())
    with pytest.raises(TypeError, match="callback"):
        wrong.add_reader(pair[0])
    with pytest.raises(TypeError, match="fd"):
        wrong.remove_reader()
    with pytest.raises(TypeError):
        wrong.remove_reader(pair[0], 1)


@pytest.mark.parametrize("thing", ["text", None, 1.5])
def test_what_has_no_descriptor_is_a_value_error(
    loop: asyncio.AbstractEventLoop, thing: object
) -> None:
    with pytest.raises(ValueError, match="Invalid file object"):
        loop.add_reader(thing, print)  # type: ignore[arg-type]


def test_a_negative_descriptor_is_a_value_error(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(ValueError, match="Invalid file descriptor"):
        loop.add_reader(-1, print)


def test_an_object_closed_while_it_is_watched_can_be_removed(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    """As in anyio, which closes the socket first, so that the object has no number any more."""
    ours, theirs = pair
    loop.add_reader(ours, print)
    ours.close()
    assert loop.remove_reader(ours)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(ours)
    number = theirs.fileno()
    loop.add_reader(number, print)
    theirs.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(theirs)
    assert loop.remove_reader(number)


def test_a_removed_object_is_let_go_of(loop: asyncio.AbstractEventLoop) -> None:
    first, second = socket.socketpair()
    alive = weakref.ref(first)
    with second:
        loop.add_reader(first, print)
        loop.add_writer(first, print)
        loop.remove_reader(first)
        loop.remove_writer(first)
        first.close()
        del first
        assert alive() is None


def test_a_closed_loop_has_nothing_to_remove(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, _ = pair
    loop.add_reader(ours, print)
    ours.close()
    loop.close()
    assert not loop.remove_reader(ours)


def test_a_closed_descriptor_is_an_os_error(loop: asyncio.AbstractEventLoop) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        loop.add_reader(read_end, print)
    assert caught.value.args == (errno.EBADF, os.strerror(errno.EBADF))
    assert not loop.remove_reader(read_end)


@pytest.mark.skipif(not LINUX, reason="a kqueue watches files")
def test_a_regular_file_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    """Epoll cannot watch it; asyncio passes on the `PermissionError`."""
    with open(__file__, "rb") as file, pytest.raises(PermissionError) as caught:
        loop.add_reader(file, print)
    assert caught.value.args == (errno.EPERM, os.strerror(errno.EPERM))


def test_a_descriptor_of_a_transport_is_refused(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        closed = asyncio.Event()

        class Accepted(asyncio.Protocol):
            """Records when the server's side of the connection is closed."""

            def connection_lost(self, exc: Exception | None) -> None:
                closed.set()

        server = await loop.create_server(Accepted, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        descriptor = transport.get_extra_info("socket").fileno()
        with pytest.raises(
            RuntimeError, match=rf"File descriptor {descriptor} is used by transport"
        ):
            loop.add_reader(descriptor, print)
        with pytest.raises(
            RuntimeError, match=rf"File descriptor {descriptor} is used by transport"
        ):
            loop.remove_writer(descriptor)
        sock = transport.get_extra_info("socket")
        text = re.escape(f"File descriptor {sock!r} is used by transport {transport!r}")
        with pytest.raises(RuntimeError, match=text):
            loop.add_writer(sock, print)
        transport.close()
        await closed.wait()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_many_descriptors_are_all_served(loop: asyncio.AbstractEventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(100)]
    seen: set[int] = set()

    def read(number: int) -> None:
        assert pairs[number][0].recv(10) == b"x"
        seen.add(number)
        if len(seen) == len(pairs):
            loop.stop()

    try:
        for number, (ours, theirs) in enumerate(pairs):
            loop.add_reader(ours, read, number)
            theirs.send(b"x")
        loop.run_forever()
        assert seen == set(range(100))
    finally:
        for ours, theirs in pairs:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()
