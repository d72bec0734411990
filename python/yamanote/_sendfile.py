"""Files sent by the kernel: what asyncio's `sendfile()` and `sock_sendfile()` call on this loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from yamanote._parts import Base
    from yamanote._yamanote import SocketTransport
else:
    Base = object


class Sendfile(Base):
    """`sendfile(2)`, in pieces, and never waiting for a disk on the loop's thread."""

    async def _sendfile_native(
        self, transp: SocketTransport, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        """Send a file behind what the transport has to send; nobody else writes meanwhile."""
        sent_before = transp._make_empty_waiter()
        resume_reading = transp.is_reading()
        transp.pause_reading()
        fd = transp._sock_fd
        # The transport's descriptor is now ours to wait for.
        self._release_fd(fd)
        try:
            await sent_before
            assert transp._sock is not None, "the transport was open"
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if not transp.is_closing():
                self._claim_fd(fd)
                if resume_reading:
                    transp.resume_reading()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        """Send a regular file; the descriptor's position is then where the sending ended.

        Raises:
            SendfileNotAvailableError: nothing was sent, and reading and sending may be tried.
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
                if sent != count:
                    await self._sock_writable(sock)
            return sent
        finally:
            if sent or _SETS_POSITION_ALWAYS:
                # Ignored: the file was closed meanwhile.
                with contextlib.suppress(OSError):
                    os.lseek(fileno, offset + sent, os.SEEK_SET)

    async def _read_ahead(self, cache: _PageCache, start: int) -> None:
        """Have a thread of the default executor read from the disk, so that sending need not."""
        copy = os.dup(cache.fileno)
        try:
            reading = self.run_in_executor(None, _read_and_close, copy, start)
        except RuntimeError:
            # The executor is shut down: the loop waits for the disk itself.
            os.close(copy)
            return
        # Not cancelled with us: the thread closes the copy.
        await asyncio.shield(reading)
        cache.known_until = start + AHEAD_BYTES


class _PageCache:
    """Which bytes of a file the kernel has in memory, as far as we need to know.

    Attributes:
        fileno: the file.
        known_until: where the bytes end that were read ahead.
    """

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno
        self.known_until = 0
        self._byte = [bytearray(1)]

    def has(self, start: int, length: int) -> bool:
        """Whether first and last byte are there, and with them, most likely, what is between."""
        if sys.platform != "linux" or start + length <= self.known_until:
            return True
        try:
            for position in (start, start + length - 1):
                os.preadv(self.fileno, self._byte, position, os.RWF_NOWAIT)
        except OSError:
            # It would have to wait, or is no file system that can tell.
            return False
        return True


def _read_and_close(fileno: int, start: int) -> None:
    """Read a stretch of a file for the sake of the page cache; in a thread."""
    try:
        buffer = [bytearray(PIECE_BYTES)]
        for position in range(start, start + AHEAD_BYTES, PIECE_BYTES):
            if os.preadv(fileno, buffer, position) < PIECE_BYTES:
                break
    except OSError:
        pass  # Sending meets it too, and reports it.
    finally:
        os.close(fileno)


def _why(error: OSError, sent: int) -> Exception:
    """Name a failure as asyncio does."""
    if not sent:
        # Most often this is no file that can be sent so.
        return asyncio.SendfileNotAvailableError("os.sendfile call failed")
    if error.errno == errno.ENOTCONN:
        return ConnectionError("socket is not connected", errno.ENOTCONN)
    return error


# Sent at once, about 50 us of copying on a loopback; then the others have their turn.
PIECE_BYTES = 256 * 1024
# Read for each trip to a thread.
AHEAD_BYTES = 1024 * 1024


def _sets_position_always() -> bool:
    """Whether this interpreter's asyncio leaves the position at `offset` if nothing was sent."""
    update: Any = getattr(asyncio.SelectorEventLoop, "_sock_sendfile_update_filepos", None)
    return update is not None and update.__code__.co_argcount == _SELF_FILENO_OFFSET


_SELF_FILENO_OFFSET = 3
_SETS_POSITION_ALWAYS = _sets_position_always()
