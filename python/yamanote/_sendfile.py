"""sendfile(2): the native hooks that asyncio's `sendfile()` and `sock_sendfile()` call."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import IO, Any

    from yamanote._parts import Base
    from yamanote._yamanote import SocketTransport
else:
    Base = object


class Sendfile(Base):
    """sendfile(2) in pieces, without blocking the loop's thread on disk reads."""

    #: The transports that send a file, by descriptor.
    _sending: dict[int, SocketTransport] | None = None

    async def _sendfile_native(
        self, transp: SocketTransport, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        """Send a file after the transport's buffered data; other writes are refused meanwhile."""
        sent_before = transp._make_empty_waiter()
        resume_reading = transp.is_reading()
        transp.pause_reading()
        fd = transp._sock_fd
        # Allow `_sock_writable()` to wait for the transport's descriptor.
        self._release_fd(fd)
        sending = self._sending = self._sending or {}
        sending[fd] = transp
        try:
            await sent_before
            assert transp._sock is not None, "the transport was open"
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        except OSError as error:
            if error.errno != errno.EBADF or not transp.is_closing():
                raise
            # A limit or the program has aborted it.
            raise ConnectionAbortedError("Connection was closed during sendfile()") from error
        finally:
            if sending.get(fd) is transp:  # Another has that descriptor if this one was closed.
                del sending[fd]
            transp._reset_empty_waiter()
            if not transp.is_closing():
                self._claim_fd(fd)
                if resume_reading:
                    transp.resume_reading()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        """Send a regular file; return the bytes sent, and set the file's position behind them.

        Raises:
            SendfileNotAvailableError: nothing was sent; the caller may read and send instead.
            OSError: the connection broke after something was sent.
        """
        try:
            fileno = file.fileno()
            size = os.fstat(fileno).st_size
        except (AttributeError, io.UnsupportedOperation, OSError) as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        if not (count or size):
            return 0
        cache = _PageCache(fileno)
        transport = (self._sending or {}).get(sock.fileno())
        sent = 0
        try:
            while count is None or sent < count:
                start = offset + sent
                length = PIECE_BYTES if count is None else min(count - sent, PIECE_BYTES)
                if not cache.has(start, length):
                    await self._read_ahead(cache, start)
                try:
                    piece = os.sendfile(sock.fileno(), fileno, start, length)
                except (BlockingIOError, InterruptedError):
                    pass
                except OSError as error:
                    raise _why(error, sent) from error
                else:
                    if not piece:
                        break
                    sent += piece
                    self._count_sent(piece)
                    if transport is not None:
                        transport._note_sent()
                if sent != count:
                    await self._sock_writable(sock)
            return sent
        finally:
            if sent or _SETS_POSITION_ALWAYS:
                # Ignored: the file may have been closed meanwhile.
                with contextlib.suppress(OSError):
                    os.lseek(fileno, offset + sent, os.SEEK_SET)

    async def _read_ahead(self, cache: _PageCache, start: int) -> None:
        """Read from the disk in the default executor, so that sendfile(2) does not block."""
        try:
            reading = self.run_in_executor(None, _Copy(cache.fileno).read_ahead, start)
        except RuntimeError:
            # The executor is shut down, or cannot start a thread: sendfile(2) waits for the disk.
            return
        await reading
        cache.known_until = start + AHEAD_BYTES


class _PageCache:
    """Estimates which bytes of a file are in the kernel's page cache.

    Attributes:
        fileno: the descriptor of the file.
        known_until: the offset up to which the file was read ahead.
    """

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno
        self.known_until = 0
        self._byte = [bytearray(1)]

    def has(self, start: int, length: int) -> bool:
        """Return whether the first and last byte are cached, and so most likely those between."""
        if sys.platform != "linux" or start + length <= self.known_until:
            return True
        try:
            for position in (start, start + length - 1):
                os.preadv(self.fileno, self._byte, position, os.RWF_NOWAIT)
        except OSError:
            # The read would block, or the file system does not support RWF_NOWAIT.
            return False
        return True


class _Copy:
    """A descriptor of the same file, closed with its last reference.

    An executor that cannot start a thread has the work all the same, and may do it later.
    """

    def __init__(self, fileno: int) -> None:
        self.fileno = os.dup(fileno)

    def __del__(self) -> None:
        # Unset where `os.dup()` failed. Ignored: the program may have closed all descriptors.
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.fileno)

    def read_ahead(self, start: int) -> None:
        """Read a section of the file into the page cache; called on a thread."""
        # Ignored: sendfile(2) fails as well, and reports it.
        with contextlib.suppress(OSError):
            buffer = [bytearray(PIECE_BYTES)]
            for position in range(start, start + AHEAD_BYTES, PIECE_BYTES):
                if os.preadv(self.fileno, buffer, position) < PIECE_BYTES:
                    break


def _why(error: OSError, sent: int) -> Exception:
    """Return the exception that asyncio raises for a failed sendfile(2)."""
    if not sent:
        # Most often the file does not support sendfile(2).
        return asyncio.SendfileNotAvailableError("os.sendfile call failed")
    if error.errno == errno.ENOTCONN:
        return ConnectionError("socket is not connected", errno.ENOTCONN)
    return error


# Sent per call: about 50 us of copying on a loopback, after which other callbacks run.
PIECE_BYTES = 256 * 1024
# Read per call of a thread.
AHEAD_BYTES = 1024 * 1024


def _sets_position_always() -> bool:
    """Return whether this asyncio sets the position to `offset` even if nothing was sent."""
    update: Any = getattr(asyncio.SelectorEventLoop, "_sock_sendfile_update_filepos", None)
    return update is not None and update.__code__.co_argcount == _SELF_FILENO_OFFSET


_SELF_FILENO_OFFSET = 3
_SETS_POSITION_ALWAYS = _sets_position_always()
