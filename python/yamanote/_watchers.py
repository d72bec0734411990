"""`add_reader`, `add_writer` and their counterparts: descriptors that the caller owns."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from _typeshed import FileDescriptorLike
    from typing_extensions import TypeVarTuple, Unpack

    from yamanote._parts import Base
    from yamanote._yamanote import Handle

    _Ts = TypeVarTuple("_Ts")
else:
    Base = object


class Watching(Base):
    """Level-triggered watchers: the callback runs in each turn that finds the descriptor ready."""

    def __init__(self) -> None:
        """Start without watched descriptors."""
        super().__init__()
        # By number. A closed object no longer has one, and `remove_reader()` looks for it here.
        self._reader_objects: dict[int, object] = {}
        self._writer_objects: dict[int, object] = {}

    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Call `callback(*args)` whenever `fd` is readable; replaces an existing reader.

        Raises:
            ValueError: `fd` is not a descriptor.
            RuntimeError: a transport owns it, or the loop is closed.
            OSError: the kernel cannot watch it, as with a regular file on Linux.
        """
        number = self._watchable(fd)
        self._watch_reader(number, self._make_handle(callback, *args))
        _remember(self._reader_objects, number, fd)

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Stop watching `fd` for reading; return whether it was watched."""
        number = self._watched(fd)
        if number is None:
            return False
        self._reader_objects.pop(number, None)
        return self._remove_reader(number)

    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Call `callback(*args)` whenever `fd` is writable; replaces an existing writer.

        Raises:
            ValueError: `fd` is not a descriptor.
            RuntimeError: a transport owns it, or the loop is closed.
            OSError: the kernel cannot watch it, as with a regular file on Linux.
        """
        number = self._watchable(fd)
        self._watch_writer(number, self._make_handle(callback, *args))
        _remember(self._writer_objects, number, fd)

    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Stop watching `fd` for writing; return whether it was watched."""
        number = self._watched(fd)
        if number is None:
            return False
        self._writer_objects.pop(number, None)
        return self._remove_writer(number)

    def _add_reader(
        self,
        fd: int,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> Handle:
        handle = self._make_handle(callback, *args, context=context)
        self._watch_reader(fd, handle)
        return handle

    def _add_writer(
        self,
        fd: int,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> Handle:
        handle = self._make_handle(callback, *args, context=context)
        self._watch_writer(fd, handle)
        return handle

    def close(self) -> None:
        """Release the watched objects."""
        self._reader_objects.clear()
        self._writer_objects.clear()
        super().close()

    def _watched(self, fd: FileDescriptorLike) -> int | None:
        """Return the number that `fd` is watched by, even if closed; `None` on a closed loop."""
        number = _number(fd)
        if 0 <= number <= _HIGHEST:
            self._ensure_fd_no_transport(number)
            return None if self.is_closed() else number
        if number > _HIGHEST:
            return None
        if number >= -_HIGHEST:
            self._ensure_fd_no_transport(number)
            if self.is_closed():
                return None
            for objects in (self._reader_objects, self._writer_objects):
                for before, candidate in objects.items():
                    if candidate is fd:
                        return before
        return _fileno(fd)

    def _watchable(self, fd: FileDescriptorLike) -> int:
        number = _number(fd)
        if type(number) is int and 0 <= number <= _HIGHEST:
            self._ensure_fd_no_transport(number)
            self._check_closed()
            return number
        if abs(number) <= _HIGHEST:
            self._ensure_fd_no_transport(number)
        self._check_closed()
        if number < 0:
            _fileno(fd)
        # As in asyncio's selector, the interpreter converts the number: it raises its own
        # error if that is too large, and from 3.13 on warns about a `bool`.
        with contextlib.suppress(OSError):
            fcntl.fcntl(number, fcntl.F_GETFD)
        return number


#: The largest number that a descriptor could have.
_HIGHEST = 2**31 - 1


def _remember(objects: dict[int, object], number: int, fd: object) -> None:
    """Keep a reference to the object while it is watched, as asyncio's selector does."""
    if fd is number:
        objects.pop(number, None)
    else:
        objects[number] = fd


def _fileno(fd: FileDescriptorLike) -> int:
    """Return the number of a descriptor, given as a number or as an object with `fileno()`."""
    number = _number(fd)
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number


def _number(fd: FileDescriptorLike) -> int:
    """Return the number without checking it; that of a closed object is negative."""
    if isinstance(fd, int):
        return fd
    try:
        return int(fd.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fd!r}") from None
