"""`connect_read_pipe` and `connect_write_pipe`: pipes, FIFOs, sockets and terminals."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import io
import logging
import os
import socket
import subprocess
import threading
import tty
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import LINUX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

#: Seconds to wait for something that must happen. Generous, because the machine may be busy.
PATIENCE_S = 30.0

#: More than the capacity of a pipe.
MORE_THAN_FITS = 1024 * 1024


class Recorder(asyncio.Protocol):
    """Records its calls; `on` maps a method to a function to call afterwards."""

    def __init__(self, on: Mapping[str, Callable[[Any], object]] | None = None) -> None:
        """Start without calls."""
        self.on = dict(on or {})
        self.calls: list[str] = []
        self.received = bytearray()
        self.lost_with: BaseException | None = None
        self.transport: Any = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self.transport = transport
        self._record("connection_made")

    def data_received(self, data: bytes) -> None:
        """Stores the bytes. Repeated calls count once: the kernel decides how data is split."""
        assert type(data) is bytes
        assert data
        self.received += data
        self._record("data_received")

    def eof_received(self) -> bool:
        """Returns what keeps a socket's transport open; a pipe's closes nevertheless."""
        self._record("eof_received")
        return True

    def pause_writing(self) -> None:
        """Records the call."""
        self._record("pause_writing")

    def resume_writing(self) -> None:
        """Records the call."""
        self._record("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stores the exception."""
        self.lost_with = exc
        self._record("connection_lost")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition` holds; it is evaluated after every call."""
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE_S)

    async def until_called(self, name: str, times: int = 1) -> None:
        """Returns when `name` was called that often."""
        await self.until(lambda: self.calls.count(name) >= times)

    async def until_received(self, count: int) -> None:
        """Returns when that many bytes have arrived."""
        await self.until(lambda: len(self.received) >= count)

    def _record(self, name: str) -> None:
        if name != "data_received" or self.calls[-1:] != [name]:
            self.calls.append(name)
        self._changed.set()
        if name in self.on:
            self.on[name](self)


def reading_end(fd: int) -> io.FileIO:
    """Returns a file object that closes `fd`."""
    return io.FileIO(fd, "r")


def writing_end(fd: int) -> io.FileIO:
    """Returns a file object that closes `fd`."""
    return io.FileIO(fd, "w")


async def connect_reader(
    fd: int, on: Mapping[str, Callable[[Any], object]] | None = None
) -> tuple[Any, Recorder]:
    """Connects a transport that reads from `fd`."""
    loop = asyncio.get_running_loop()
    return await loop.connect_read_pipe(lambda: Recorder(on), reading_end(fd))


async def connect_writer(
    fd: int, on: Mapping[str, Callable[[Any], object]] | None = None
) -> tuple[Any, Recorder]:
    """Connects a transport that writes to `fd`."""
    loop = asyncio.get_running_loop()
    return await loop.connect_write_pipe(lambda: Recorder(on), writing_end(fd))


async def turns(count: int) -> None:
    """Runs some turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Runs turns of the loop until `condition` holds."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for.
        await asyncio.sleep(0)


def is_open(fd: int) -> bool:
    """Returns whether this process has a descriptor `fd`."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def read_all(fd: int) -> bytes:
    """Reads until the end, and closes. Blocks."""
    with io.FileIO(fd, "r") as file:
        return file.readall()


def socket_pair() -> tuple[int, int]:
    """Returns the descriptors of two connected Unix sockets."""
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


ENDS = pytest.mark.parametrize("make", [os.pipe, socket_pair], ids=["pipe", "socket"])


@ENDS
def test_what_is_written_to_one_end_is_read_from_the_other(
    loop: asyncio.AbstractEventLoop, make: Callable[[], tuple[int, int]]
) -> None:
    async def main() -> None:
        read_fd, write_fd = make()
        reader, received = await connect_reader(read_fd)
        writer, written = await connect_writer(write_fd)
        writer.write(b"one")
        writer.write(bytearray(b"two"))
        writer.write(memoryview(b"three"))
        writer.writelines([b"four", b"", b"five"])
        await received.until_received(19)
        assert received.received == b"onetwothreefourfive"
        writer.close()
        await received.until_called("connection_lost")
        await written.until_called("connection_lost")
        made = "connection_made"
        assert received.calls == [made, "data_received", "eof_received", "connection_lost"]
        assert written.calls == [made, "connection_lost"]
        assert received.lost_with is written.lost_with is None
        assert reader.is_closing()
        assert writer.is_closing()
        assert not is_open(read_fd)
        assert not is_open(write_fd)

    loop.run_until_complete(main())


def test_transports_are_asyncios_and_know_their_file(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        read_file, write_file = reading_end(read_fd), writing_end(write_fd)
        reader, protocol = await loop.connect_read_pipe(Recorder, read_file)
        writer, _ = await loop.connect_write_pipe(Recorder, write_file)
        assert isinstance(reader, asyncio.ReadTransport)
        assert not isinstance(reader, asyncio.WriteTransport)
        assert isinstance(writer, asyncio.WriteTransport)
        for transport, file in ((reader, read_file), (writer, write_file)):
            assert transport.get_extra_info("pipe") is file
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("peername", 7) == 7
            assert not transport.is_closing()
            assert f"fd={file.fileno()}" in repr(transport)
        assert reader.get_protocol() is protocol
        assert writer.can_write_eof()
        assert "polling" in repr(reader)
        assert "bufsize=0" in repr(writer)
        reader.close()
        writer.close()
        assert "closing" in repr(reader)
        await turns(3)
        assert "closed" in repr(reader)
        assert "closed" in repr(writer)
        assert read_file.closed
        assert write_file.closed

    loop.run_until_complete(main())


def test_a_regular_file_is_refused_and_left_alone(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main() -> None:
        with (tmp_path / "file").open("wb") as file:
            refused = "^Pipe transport is only for pipes, sockets and character devices$"
            with pytest.raises(ValueError, match=refused):
                await loop.connect_write_pipe(Recorder, file)
            with pytest.raises(ValueError, match=r"^Pipe transport is for pipes/sockets only\.$"):
                await loop.connect_read_pipe(Recorder, file)
            assert not file.closed

    loop.run_until_complete(main())


def test_an_object_without_a_descriptor_is_refused(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio leaves a half-made transport, whose finalizer fails")

    async def main() -> None:
        with pytest.raises(AttributeError):
            await loop.connect_read_pipe(Recorder, object())
        with pytest.raises(io.UnsupportedOperation):
            await loop.connect_write_pipe(Recorder, io.BytesIO())

    loop.run_until_complete(main())


def test_the_null_device_can_be_written(loop: asyncio.AbstractEventLoop) -> None:
    """Epoll cannot wait for it, which is not necessary."""

    async def main() -> None:
        transport, protocol = await connect_writer(os.open(os.devnull, os.O_WRONLY))
        transport.write(bytes(MORE_THAN_FITS))
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.until_called("connection_lost")

    loop.run_until_complete(main())


def test_a_file_that_cannot_be_waited_for_is_reported_and_can_be_closed(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        transport, protocol = await connect_reader(os.open("/dev/zero", os.O_RDONLY))
        [context] = reported
        assert isinstance(context["exception"], PermissionError)
        assert context["message"].startswith("Exception in callback ")
        reported.clear()
        transport.close()
        await protocol.until_called("connection_lost")

    loop.run_until_complete(main())


@ENDS
def test_megabytes_pass_in_order_and_writing_is_paused_meanwhile(
    loop: asyncio.AbstractEventLoop, make: Callable[[], tuple[int, int]]
) -> None:
    data = os.urandom(10 * MORE_THAN_FITS)

    async def main() -> None:
        read_fd, write_fd = make()
        _, received = await connect_reader(read_fd)
        writer, written = await connect_writer(write_fd)
        for start in range(0, len(data), 100_000):
            writer.write(data[start : start + 100_000])
        assert written.calls[-1] == "pause_writing"
        writer.write_eof()
        assert writer.is_closing()
        await received.until_called("connection_lost")
        assert received.received == data
        await written.until_called("connection_lost")
        assert written.calls[1:] == ["pause_writing", "resume_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_pausing_and_resuming_alternate(loop: asyncio.AbstractEventLoop) -> None:
    """10 MiB through a FIFO: the writer obeys flow control, the reader is slow."""

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        may_write = asyncio.Event()
        may_write.set()
        reader, received = await connect_reader(
            read_fd, {"data_received": lambda recorder: recorder.transport.pause_reading()}
        )
        writer, written = await connect_writer(
            write_fd,
            {
                "pause_writing": lambda _: may_write.clear(),
                "resume_writing": lambda _: may_write.set(),
            },
        )
        writer.set_write_buffer_limits(high=50_000, low=10_000)
        assert writer.get_write_buffer_limits() == (10_000, 50_000)

        async def write() -> None:
            for number in range(640):
                await may_write.wait()
                writer.write(bytes([number % 256]) * 16 * 1024)
                assert writer.get_write_buffer_size() <= 50_000 + 16 * 1024
            writer.close()

        writing = asyncio.ensure_future(write())
        while "connection_lost" not in received.calls:
            await asyncio.sleep(0)
            reader.resume_reading()
        await writing
        expected = b"".join(bytes([number % 256]) * 16 * 1024 for number in range(640))
        assert received.received == expected
        told = [call for call in written.calls if call.endswith("_writing")]
        assert len(told) > 2
        assert told == ["pause_writing", "resume_writing"] * (len(told) // 2)

    loop.run_until_complete(main())


def test_a_named_fifo_carries_ten_megabytes(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """With streams: `drain()` waits for a reader on another thread."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    data = os.urandom(10 * MORE_THAN_FITS)
    received: list[bytes] = []
    thread = threading.Thread(target=lambda: received.append(path.read_bytes()))

    async def main() -> None:
        thread.start()
        fd = await loop.run_in_executor(None, os.open, path, os.O_WRONLY)
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop), writing_end(fd)
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        for start in range(0, len(data), 64 * 1024):
            writer.write(data[start : start + 64 * 1024])
            await writer.drain()
        writer.close()
        await loop.run_in_executor(None, thread.join, PATIENCE_S)

    loop.run_until_complete(main())
    assert received == [data]


def test_a_fifo_without_a_writer_waits_for_one(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        reader, received = await connect_reader(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        reader.pause_reading()
        await turns(5)
        reader.resume_reading()
        await turns(5)
        assert received.calls == ["connection_made"]
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b"late")
        await received.until_received(4)
        os.close(fd)
        await received.until_called("connection_lost")
        assert received.calls[1:] == ["data_received", "eof_received", "connection_lost"]

    loop.run_until_complete(main())


def test_a_stream_reader_reads_a_pipe(loop: asyncio.AbstractEventLoop) -> None:
    """Lines, exact counts, the rest; more than the limit, so that it pauses the transport."""
    data = os.urandom(3 * MORE_THAN_FITS)

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), reading_end(read_fd)
        )
        writer, _ = await connect_writer(write_fd)
        writer.write(b"line one\nline two\n")
        assert await reader.readline() == b"line one\n"
        assert await reader.readline() == b"line two\n"
        writer.write(data)
        writer.close()
        await until(lambda: not transport.is_reading())
        assert await reader.readexactly(MORE_THAN_FITS) == data[:MORE_THAN_FITS]
        assert await reader.read() == data[MORE_THAN_FITS:]
        assert reader.at_eof()

    loop.run_until_complete(main())


def test_a_pinned_stream_buffer_is_asyncios_error(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), reading_end(read_fd)
        )
        reader.feed_data(b"before")
        pinned: Any = memoryview(reader._buffer)  # type: ignore[attr-defined]
        os.write(write_fd, b"lost")
        await until(lambda: bool(reported))
        assert isinstance(reported[0]["exception"], BufferError)
        reported.clear()
        pinned.release()
        os.write(write_fd, b"after")
        assert await reader.readexactly(11) == b"beforeafter"
        os.close(write_fd)
        assert await reader.read() == b""
        assert transport.is_closing()

    loop.run_until_complete(main())


def test_a_closed_reader_is_noticed_while_nothing_is_written(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        _, written = await connect_writer(write_fd)
        await turns(3)
        os.close(read_fd)
        await written.until_called("connection_lost")
        assert written.lost_with is None
        assert not is_open(write_fd)

    loop.run_until_complete(main())


@ENDS
def test_a_reader_closed_while_bytes_wait_is_a_broken_pipe(
    loop: asyncio.AbstractEventLoop, make: Callable[[], tuple[int, int]]
) -> None:
    async def main() -> None:
        read_fd, write_fd = make()
        writer, written = await connect_writer(write_fd)
        writer.write(bytes(MORE_THAN_FITS))
        await turns(3)
        assert writer.get_write_buffer_size() > 0
        os.close(read_fd)
        await written.until_called("connection_lost")
        assert type(written.lost_with) is BrokenPipeError
        assert writer.get_write_buffer_size() == 0

    loop.run_until_complete(main())


def test_writing_to_a_closed_reader_is_a_broken_pipe(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        writer, written = await connect_writer(write_fd)
        os.close(read_fd)
        writer.write(b"nobody")
        assert writer.is_closing()
        await written.until_called("connection_lost")
        error = written.lost_with
        assert isinstance(error, BrokenPipeError)
        assert error.errno == errno.EPIPE
        with caplog.at_level(logging.WARNING, logger="asyncio"):
            for _ in range(5):
                writer.write(b"still nobody")
        [record] = caplog.records
        assert record.message == "pipe closed by peer or os.write(pipe, data) raised exception."

    loop.run_until_complete(main())


def test_a_peer_that_sends_to_a_writing_end_ends_it(loop: asyncio.AbstractEventLoop) -> None:
    """The other end of a pipe never sends; asyncio takes any readable data for EOF."""

    async def main() -> None:
        read_fd, write_fd = socket_pair()
        _, written = await connect_writer(write_fd)
        os.write(read_fd, b"?")
        await written.until_called("connection_lost")
        os.close(read_fd)

    loop.run_until_complete(main())


def test_abort_drops_what_waits(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        writer, written = await connect_writer(write_fd)
        writer.write(bytes(MORE_THAN_FITS))
        waiting = writer.get_write_buffer_size()
        assert waiting > 0
        writer.abort()
        assert writer.get_write_buffer_size() == 0
        await written.until_called("connection_lost")
        assert written.lost_with is None
        assert len(read_all(read_fd)) == MORE_THAN_FITS - waiting

    loop.run_until_complete(main())


def test_what_is_not_bytes_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        writer, written = await connect_writer(write_fd)
        with pytest.raises(AssertionError, match="'text'"):
            writer.write("text")
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            writer.set_write_buffer_limits(high=1, low=2)
        writer.write(b"")
        writer.close()
        await written.until_called("connection_lost")
        assert read_all(read_fd) == b""

    loop.run_until_complete(main())


def test_what_was_written_may_be_changed_afterwards(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        writer, _ = await connect_writer(write_fd)
        data = bytearray(b"a" * MORE_THAN_FITS)
        writer.write(data)
        data[:] = b"b" * MORE_THAN_FITS
        writer.close()
        received = await loop.run_in_executor(None, read_all, read_fd)
        assert received == b"a" * MORE_THAN_FITS

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
def test_a_reader_can_be_closed_in_any_method(loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        os.write(write_fd, bytes(1000))
        _, received = await connect_reader(read_fd, {method: lambda own: own.transport.close()})
        os.close(write_fd)
        await received.until_called("connection_lost")
        await turns(3)
        order = ["connection_made", "data_received", "eof_received"]
        assert received.calls == [*order[: order.index(method) + 1], "connection_lost"]
        assert not is_open(read_fd)

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("method", ["connection_made", "pause_writing", "resume_writing"])
def test_a_writer_can_be_ended_in_any_method(
    loop: asyncio.AbstractEventLoop, loop_name: str, method: str, end: str
) -> None:
    if (loop_name, method) == ("asyncio", "resume_writing"):
        pytest.skip("asyncio calls connection_lost() twice")

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        writer, written = await connect_writer(
            write_fd, {method: lambda own: getattr(own.transport, end)()}
        )
        writer.write(bytes(MORE_THAN_FITS))
        received = await loop.run_in_executor(None, read_all, read_fd)
        await written.until_called("connection_lost")
        await turns(3)
        assert written.calls.count("connection_lost") == 1
        assert written.lost_with is None
        assert len(received) == MORE_THAN_FITS or (end, method) != ("close", "pause_writing")
        assert not is_open(write_fd)

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    "method", ["connection_made", "data_received", "eof_received", "connection_lost"]
)
def test_a_raising_method_is_reported_and_the_rest_goes_on(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], method: str
) -> None:
    """Unlike a socket's transport, a pipe's survives an exception in `data_received`."""
    error = RuntimeError("on purpose")

    def fail(_: object) -> None:
        raise error

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        _, received = await connect_reader(read_fd, {method: fail})
        os.write(write_fd, b"data")
        await received.until_received(4)
        os.close(write_fd)
        await received.until_called("connection_lost")
        await turns(2)
        made = "connection_made"
        assert received.calls == [made, "data_received", "eof_received", "connection_lost"]
        assert not is_open(read_fd)
        [context] = reported
        assert context["exception"] is error
        assert context["message"].startswith("Exception in callback ")
        assert "handle" in context
        reported.clear()

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_raising_flow_control_is_reported_and_the_rest_goes_on(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], method: str
) -> None:
    error = RuntimeError("on purpose")

    def fail(_: object) -> None:
        raise error

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        writer, written = await connect_writer(write_fd, {method: fail})
        writer.write(bytes(MORE_THAN_FITS))
        writer.close()
        received = await loop.run_in_executor(None, read_all, read_fd)
        assert len(received) == MORE_THAN_FITS
        await written.until_called("connection_lost")
        [context] = reported
        assert context["message"] == f"protocol.{method}() failed"
        assert context["exception"] is error
        assert context["transport"] is writer
        assert context["protocol"] is written
        reported.clear()

    loop.run_until_complete(main())


def test_methods_run_in_the_context_of_the_connecting_task(
    loop: asyncio.AbstractEventLoop,
) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    seen: dict[str, str] = {}

    def look(method: str) -> Callable[[Any], None]:
        def note(_: object) -> None:
            seen[method] = name.get()

        return note

    methods = ["connection_made", "data_received", "eof_received", "connection_lost"]

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        name.set("connecting")
        _, received = await connect_reader(read_fd, {method: look(method) for method in methods})
        name.set("later")
        os.write(write_fd, b"data")
        os.close(write_fd)
        await received.until_called("connection_lost")
        assert seen == dict.fromkeys(methods, "connecting")

    loop.run_until_complete(main())


def test_a_new_protocol_takes_over(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        read_fd, write_fd = os.pipe()
        transport, before = await connect_reader(read_fd)
        after = Recorder()
        transport.set_protocol(after)
        assert transport.get_protocol() is after
        os.write(write_fd, b"data")
        os.close(write_fd)
        await after.until_called("connection_lost")
        assert before.calls == ["connection_made"]
        assert after.received == b"data"

    loop.run_until_complete(main())


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Yields both ends of a pseudo-terminal, which the test may close."""
    ends = os.openpty()
    tty.setraw(ends[1])
    yield ends
    for fd in ends:
        if is_open(fd):
            os.close(fd)


def test_a_terminal_is_read_until_it_is_hung_up(
    loop: asyncio.AbstractEventLoop, terminal: tuple[int, int]
) -> None:
    async def main() -> None:
        main_fd, side_fd = terminal
        _, received = await connect_reader(main_fd)
        os.write(side_fd, b"one")
        await received.until_received(3)
        os.write(side_fd, b"two")
        os.close(side_fd)
        await received.until_called("connection_lost")
        assert received.received == b"onetwo"
        assert received.calls == ["connection_made", "data_received", "connection_lost"]
        assert isinstance(received.lost_with, OSError)
        assert received.lost_with.errno == errno.EIO

    loop.run_until_complete(main())


def test_every_line_of_a_terminal_is_read(loop: asyncio.AbstractEventLoop) -> None:
    """read(2) returns one line of a terminal at a time, however large the buffer is."""

    async def main() -> None:
        main_fd, side_fd = os.openpty()
        os.write(main_fd, b"one\ntwo\nthree\n" * 50)
        _, received = await connect_reader(side_fd)
        await received.until_received(14 * 50)
        assert received.received == b"one\ntwo\nthree\n" * 50
        received.transport.close()
        await received.until_called("connection_lost")
        os.close(main_fd)

    loop.run_until_complete(main())


@pytest.mark.parametrize("make", [os.openpty, lambda: os.pipe()[::-1]], ids=["terminal", "pipe"])
def test_a_file_made_blocking_by_another_process_does_not_stop_the_loop(
    loop: asyncio.AbstractEventLoop, make: Callable[[], tuple[int, int]]
) -> None:
    """Shells do this to the terminal that they share with the program."""

    async def main() -> None:
        write_fd, read_fd = make()
        transport, received = await connect_reader(read_fd)
        os.set_blocking(read_fd, True)
        for number in range(1, 4):
            os.write(write_fd, b"line\n")
            await received.until_received(5 * number)
            transport.pause_reading()
            await turns(3)
            transport.resume_reading()
            await turns(3)
        transport.close()
        await received.until_called("connection_lost")
        os.close(write_fd)

    loop.run_until_complete(main())


def test_a_terminal_holds_back_its_writer(
    loop: asyncio.AbstractEventLoop, terminal: tuple[int, int]
) -> None:
    data = os.urandom(300_000)

    async def main() -> None:
        main_fd, side_fd = terminal
        writer, written = await connect_writer(side_fd)
        writer.write(data)
        assert writer.get_write_buffer_size() > 0
        _, received = await connect_reader(main_fd)
        await received.until_received(len(data))
        assert received.received == data
        assert written.calls[1:] == ["pause_writing", "resume_writing"]
        writer.close()
        await written.until_called("connection_lost")
        received.transport.close()
        await received.until_called("connection_lost")

    loop.run_until_complete(main())


def test_one_descriptor_of_a_terminal_is_read_and_written(
    loop: asyncio.AbstractEventLoop, terminal: tuple[int, int]
) -> None:
    """Two transports with the same descriptor number: the second must be able to wait, too."""
    data = os.urandom(300_000)

    async def main() -> None:
        main_fd, side_fd = terminal
        _, received = await connect_reader(main_fd)
        file = io.FileIO(main_fd, "w", closefd=False)
        writer, written = await loop.connect_write_pipe(Recorder, file)
        echo = loop.run_in_executor(None, copy, side_fd, len(data))
        writer.write(data)
        await received.until_received(len(data))
        await echo
        assert received.received == data
        received.transport.close()
        writer.close()
        await received.until_called("connection_lost")
        await written.until_called("connection_lost")

    loop.run_until_complete(main())


def copy(fd: int, count: int) -> None:
    """Writes back what it reads. Blocks."""
    while count:
        data = os.read(fd, 4096)
        count -= len(data)
        while data:
            data = data[os.write(fd, data) :]


def start_shell(fd: int) -> subprocess.Popen[bytes]:
    """Starts a shell on a terminal; the descriptor then belongs to the shell."""
    shell = subprocess.Popen(["/bin/sh"], stdin=fd, stdout=fd, stderr=fd)
    os.close(fd)
    return shell


def test_a_shell_answers_through_a_terminal(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        main_fd, side_fd = os.openpty()
        shell = start_shell(side_fd)
        _, received = await connect_reader(os.dup(main_fd))
        writer, written = await connect_writer(main_fd)
        writer.write(b"echo $((6 * 7)); exit\n")
        await received.until_called("connection_lost")
        assert b"42\r\n" in received.received
        writer.close()
        await written.until_called("connection_lost")
        assert await loop.run_in_executor(None, shell.wait) == 0

    loop.run_until_complete(main())


@pytest.mark.skipif(not LINUX, reason="packets in a pipe are Linux's")
def test_packets_of_a_pipe_are_all_read(loop: asyncio.AbstractEventLoop) -> None:
    """In packet mode read(2) returns one packet, however large the buffer is."""

    async def main() -> None:
        read_fd, write_fd = os.pipe2(os.O_DIRECT)
        for _ in range(12):
            os.write(write_fd, b"packet")
        _, received = await connect_reader(read_fd)
        await received.until_received(72)
        os.close(write_fd)
        await received.until_called("connection_lost")

    loop.run_until_complete(main())


def test_a_transport_dropped_unclosed_warns_and_closes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[int, int]:
        read_fd, write_fd = os.pipe()
        reader, protocol = await connect_reader(read_fd)
        reader.pause_reading()
        del reader, protocol
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gc.collect()
        assert "unclosed transport" in "".join(str(warning.message) for warning in caught)
        assert all(issubclass(warning.category, ResourceWarning) for warning in caught)
        return read_fd, write_fd

    read_fd, write_fd = loop.run_until_complete(main())
    assert not is_open(read_fd)
    os.close(write_fd)


def test_a_closed_loop_lets_its_transports_warn(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[int, int]:
        read_fd, write_fd = os.pipe()
        await connect_reader(read_fd)
        await connect_writer(write_fd)
        return read_fd, write_fd

    fds = loop.run_until_complete(main())
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    assert len([warning for warning in caught if "unclosed transport" in str(warning)]) == 2
    assert not any(map(is_open, fds))


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_ended_transports_leave_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[weakref.ref[Any]] = []

    async def main() -> None:
        await one_pair(seen)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(100):
            await one_pair(seen)
        assert set(os.listdir("/proc/self/fd")) == before

    async def one_pair(seen: list[weakref.ref[Any]]) -> None:
        read_fd, write_fd = os.pipe()
        reader, received = await connect_reader(read_fd)
        writer, written = await connect_writer(write_fd)
        writer.write(b"data")
        writer.close()
        await received.until_called("connection_lost")
        await written.until_called("connection_lost")
        seen.extend(map(weakref.ref, (reader, received, writer, written)))

    loop.run_until_complete(main())
    gc.collect()
    assert [reference() for reference in seen if reference() is not None] == []


def test_hundreds_of_pipes_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async def one(number: int) -> bytes:
            read_fd, write_fd = os.pipe()
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), reading_end(read_fd)
            )
            writer, _ = await connect_writer(write_fd)
            writer.write(b"%d" % number * 1000)
            writer.close()
            return await reader.read()

        results = await asyncio.gather(*map(one, range(400)))
        assert results == [b"%d" % number * 1000 for number in range(400)]

    loop.run_until_complete(main())
