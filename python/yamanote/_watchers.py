"""`add_reader` and its kin: descriptors that the caller owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import FileDescriptorLike
    from typing_extensions import TypeVarTuple, Unpack

    from yamanote._parts import Base

    _Ts = TypeVarTuple("_Ts")
else:
    Base = object


class Watching(Base):
    """Level-triggered: the callback comes again in each turn that finds the descriptor ready."""

    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]
    ) -> None:
        """Call `callback(*args)` whenever `fd` can be read; replaces the reader there was.

        Raises:
            ValueError: `fd` is no descriptor.
            RuntimeError: a transport owns it, or the loop is closed.
            OSError: the kernel cannot watch it, as with a regular file.
        """
        number = self._watchable(fd)
        self._add_reader(number, self._make_handle(callback, *args))

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Stop watching `fd` for reading; whether it was watched."""
        number = _fileno(fd)
        self._ensure_fd_no_transport(number)
        return not self.is_closed() and self._remove_reader(number)

    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]
    ) -> None:
        """Call `callback(*args)` whenever `fd` can be written; replaces the writer there was.

        Raises:
            ValueError: `fd` is no descriptor.
            RuntimeError: a transport owns it, or the loop is closed.
            OSError: the kernel cannot watch it, as with a regular file.
        """
        number = self._watchable(fd)
        self._add_writer(number, self._make_handle(callback, *args))

    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Stop watching `fd` for writing; whether it was watched."""
        number = _fileno(fd)
        self._ensure_fd_no_transport(number)
        return not self.is_closed() and self._remove_writer(number)

    def _watchable(self, fd: FileDescriptorLike) -> int:
        number = _fileno(fd)
        self._ensure_fd_no_transport(number)
        self._check_closed()
        return number


def _fileno(fd: FileDescriptorLike) -> int:
    """Return the number of a descriptor, given as such or by an object with `fileno()`."""
    if isinstance(fd, int):
        number = fd
    else:
        try:
            number = int(fd.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fd!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number
