"""File access that does not block the loop: awaitable `open()`, `stat()` and the like.

    from yamanote import fs

    async with fs.open("data.txt") as file:
        async for line in file:
            ...
    text = await fs.read_text("data.txt")

Each call runs on a thread of the loop's file pool, at most 40 at once; further calls are queued.
A call raises what the blocking call raises. On loops other than yamanote's, calls run in the loop's
default executor.

A call that has started cannot be cancelled: if the awaiting task is cancelled, the call still
completes on its thread. A file whose `open()` was cancelled is closed as soon as it is open.
"""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import Awaitable, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    AnyStr,
    Generic,
    TypeAlias,
    TypeVar,
    overload,
)

from yamanote._fs_threads import pool_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from _typeshed import OpenBinaryMode, OpenTextMode, ReadableBuffer, WriteableBuffer
    from typing_extensions import ParamSpec

    _P = ParamSpec("_P")

__all__ = [
    "AsyncFile",
    "exists",
    "is_dir",
    "is_file",
    "listdir",
    "makedirs",
    "mkdir",
    "open",
    "read_bytes",
    "read_text",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "stat",
    "write_bytes",
    "write_text",
]

_T = TypeVar("_T")
_StrPath: TypeAlias = str | os.PathLike[str]


async def _run(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `function` on a thread of the running loop's file pool."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool_of(loop), partial(function, *args, **kwargs))


class AsyncFile(Generic[AnyStr]):
    """A file object with awaitable methods; created by `open()`.

    `wrapped` is the underlying file object, as returned by the built-in `open()`.
    """

    def __init__(self, wrapped: IO[AnyStr]) -> None:
        """Wrap an open file."""
        self.wrapped: IO[AnyStr] = wrapped

    @property
    def name(self) -> Any:  # noqa: ANN401 - as `io` has it.
        """The path or descriptor that was opened."""
        return self.wrapped.name

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self.wrapped.closed

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.wrapped.fileno()

    async def read(self, size: int = -1) -> AnyStr:
        """Read up to `size` characters or bytes; if `size` is negative, until the end."""
        return await _run(self.wrapped.read, size)

    async def readline(self, size: int = -1) -> AnyStr:
        """Read one line with its line end, or at most `size`; empty at the end of the file."""
        return await _run(self.wrapped.readline, size)

    async def readlines(self, hint: int = -1) -> list[AnyStr]:
        """Read all lines, or until `hint` characters or bytes were read if it is positive."""
        return await _run(self.wrapped.readlines, hint)

    async def readinto(self: AsyncFile[bytes], buffer: WriteableBuffer) -> int:
        """Read into `buffer`; return the number of bytes, 0 at the end of the file."""
        return await _run(self.wrapped.readinto, buffer)  # type: ignore[attr-defined]

    @overload
    async def write(self: AsyncFile[str], data: str) -> int: ...
    @overload
    async def write(self: AsyncFile[bytes], data: ReadableBuffer) -> int: ...
    async def write(self, data: Any) -> int:
        """Write; return the number of characters or bytes. `data` must not change meanwhile."""
        return await _run(self.wrapped.write, data)

    @overload
    async def writelines(self: AsyncFile[str], lines: Iterable[str]) -> None: ...
    @overload
    async def writelines(self: AsyncFile[bytes], lines: Iterable[ReadableBuffer]) -> None: ...
    async def writelines(self, lines: Iterable[Any]) -> None:
        """Write the items in order, without adding line ends."""
        await _run(self.wrapped.writelines, list(lines))

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; return the new one."""
        return await _run(self.wrapped.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position."""
        return await _run(self.wrapped.tell)

    async def truncate(self, size: int | None = None) -> int:
        """Resize to `size`, or to the current position if `None`; return the new size."""
        return await _run(self.wrapped.truncate, size)

    async def flush(self) -> None:
        """Write buffered data to the kernel."""
        await _run(self.wrapped.flush)

    async def aclose(self) -> None:
        """Flush and close; a second call does nothing."""
        if not self.wrapped.closed:
            await _run(self.wrapped.close)

    def __aiter__(self) -> Self:
        """Iterate over lines."""
        return self

    async def __anext__(self) -> AnyStr:
        """Return the next line."""
        line = await self.readline()
        if line:
            return line
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        """Return the file."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        await self.aclose()


class _Opening(Awaitable[AsyncFile[AnyStr]]):
    """The result of `open()`: opens the file when it is awaited or entered."""

    def __init__(self, call: partial[IO[AnyStr]]) -> None:
        """Store the call that opens the file."""
        self._call: partial[IO[AnyStr]] = call
        self._file: AsyncFile[AnyStr] | None = None

    def __await__(self) -> Generator[Any, None, AsyncFile[AnyStr]]:
        """Open the file."""
        return self._open().__await__()

    async def __aenter__(self) -> AsyncFile[AnyStr]:
        """Open the file."""
        self._file = await self._open()
        return self._file

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            await self._file.aclose()

    async def _open(self) -> AsyncFile[AnyStr]:
        opened = asyncio.ensure_future(_run(self._call))
        try:
            return AsyncFile(await asyncio.shield(opened))
        except asyncio.CancelledError:
            opened.add_done_callback(_close_unwanted)
            raise


def _close_unwanted(opened: asyncio.Future[IO[Any]]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()


@overload
def open(
    file: _StrPath | bytes | int,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> _Opening[str]: ...
@overload
def open(
    file: _StrPath | bytes | int,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> _Opening[bytes]: ...
def open(
    file: _StrPath | bytes | int,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> _Opening[Any]:
    """Open a file like the built-in `open()`, when the result is awaited or entered.

    Raises:
        OSError: at that time, as from the built-in.
    """
    return _Opening(
        partial(builtins.open, file, mode, buffering, encoding, errors, newline, closefd, opener)
    )


async def read_bytes(path: _StrPath) -> bytes:
    """Return the contents of the file."""
    return await _run(Path(path).read_bytes)


async def read_text(path: _StrPath, encoding: str | None = None, errors: str | None = None) -> str:
    """Return the decoded contents of the file."""
    return await _run(Path(path).read_text, encoding, errors)


async def write_bytes(path: _StrPath, data: ReadableBuffer) -> int:
    """Replace the contents of the file; return the number of bytes.

    `data` must not change meanwhile.
    """
    return await _run(Path(path).write_bytes, data)


async def write_text(
    path: _StrPath, data: str, encoding: str | None = None, errors: str | None = None
) -> int:
    """Replace the contents of the file with encoded `data`; return the number of characters."""
    return await _run(Path(path).write_text, data, encoding, errors)


async def stat(path: _StrPath | int, *, follow_symlinks: bool = True) -> os.stat_result:
    """`os.stat()`."""
    return await _run(os.stat, path, follow_symlinks=follow_symlinks)


async def exists(path: _StrPath) -> bool:
    """`os.path.exists()`."""
    return await _run(os.path.exists, path)


async def is_file(path: _StrPath) -> bool:
    """`os.path.isfile()`."""
    return await _run(os.path.isfile, path)


async def is_dir(path: _StrPath) -> bool:
    """`os.path.isdir()`."""
    return await _run(os.path.isdir, path)


async def listdir(path: _StrPath = ".") -> list[str]:
    """`os.listdir()`."""
    return await _run(os.listdir, path)


async def mkdir(path: _StrPath, mode: int = 0o777) -> None:
    """`os.mkdir()`."""
    await _run(os.mkdir, path, mode)


async def makedirs(path: _StrPath, mode: int = 0o777, exist_ok: bool = False) -> None:
    """`os.makedirs()`."""
    await _run(os.makedirs, path, mode, exist_ok)


async def remove(path: _StrPath) -> None:
    """`os.remove()`."""
    await _run(os.remove, path)


async def rename(source: _StrPath, target: _StrPath) -> None:
    """`os.rename()`."""
    await _run(os.rename, source, target)


async def replace(source: _StrPath, target: _StrPath) -> None:
    """`os.replace()`."""
    await _run(os.replace, source, target)


async def rmdir(path: _StrPath) -> None:
    """`os.rmdir()`."""
    await _run(os.rmdir, path)
