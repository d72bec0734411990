"""Hostile values that a program may pass to any call."""

from __future__ import annotations

import array
import ctypes
import decimal
import fractions
import functools
import math
import os
import signal
import ssl
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class OwnInt(int):
    """A number whose class is not recognized by identity checks."""


class OwnFloat(float):
    """Like `OwnInt`."""


class OwnBytes(bytes):
    """Like `OwnInt`."""


class OwnStr(str):
    """Like `OwnInt`."""

    __slots__ = ()


class Indexed:
    """An integer only by `__index__`."""

    def __index__(self) -> int:
        """Returns three."""
        return 3


class Floated:
    """A number only by `__float__`."""

    def __float__(self) -> float:
        """Returns zero."""
        return 0.0


class Opened:
    """A file only by `fileno`."""

    def __init__(self, answer: object) -> None:
        """Store `answer`."""
        self._answer = answer

    def fileno(self) -> object:
        """Returns `answer`, or its result if it is callable."""
        return self._answer() if callable(self._answer) else self._answer

    def close(self) -> None:
        """Does nothing."""


def released() -> memoryview:
    """Returns a released memoryview."""
    view = memoryview(b"released")
    view.release()
    return view


def doubles(count: int) -> memoryview:
    """Returns a view with items of eight bytes."""
    return memoryview(array.array("d", [0.0] * count))


def every_other(size: int) -> memoryview:
    """Returns a non-contiguous view."""
    return memoryview(bytes(size))[::2]


def structure(size: int) -> object:
    """Returns a C structure, which is a buffer."""
    return (ctypes.c_char * size)()


def adder(text: str) -> Callable[..., object]:
    """Returns a callable that is not a Python function."""
    return functools.partial(text.__add__, "")


async def nothing() -> None:
    """A coroutine that ends at once."""


async def failing() -> None:
    """A coroutine that raises."""
    raise ZeroDivisionError


def yielding() -> Any:  # noqa: ANN401 - a generator of anything.
    """A generator: no coroutine, but iterated like one."""
    yield None


#: What each special method returns after its side effect.
_ANSWERS: dict[str, object] = {
    "__bool__": True,
    "__call__": None,
    "__eq__": NotImplemented,
    "__float__": 0.0,
    "__fspath__": "/nonexistent",
    "__hash__": 1,
    "__index__": 1,
    "__iter__": iter(()),
    "__len__": 1,
    "__lt__": NotImplemented,
    "__repr__": "trap",
    "__str__": "trap",
    "__del__": None,
    "fileno": -1,
    "close": None,
}


def _fail() -> None:
    raise ZeroDivisionError


def trap(method: str, action: Callable[[], object] | None = None, base: object = None) -> object:
    """Returns an object whose special method does something else first.

    Args:
        method: `__len__`, `__index__`, `fileno` and the like.
        action: what it does first; `None` raises.
        base: a number, string or bytes that the object otherwise equals.
    """
    act = _fail if action is None else action

    def special(self: object, *_: object) -> object:
        act()
        if method == "__buffer__":
            return memoryview(b"trap")
        if method == "__await__":
            return iter(())
        return _ANSWERS[method]

    kind: Any = object if base is None else type(base)
    members: dict[str, object] = {method: special}
    if method == "__eq__":
        members["__hash__"] = kind.__hash__
    made: Any = type("Trap", (kind,), members)
    return made() if base is None else made(base)


def namespace() -> dict[str, Any]:
    """Returns the names for expressions, except those of a run."""
    names: dict[str, Any] = {
        "Decimal": decimal.Decimal,
        "Fraction": fractions.Fraction,
        "Floated": Floated,
        "Indexed": Indexed,
        "Opened": Opened,
        "OwnBytes": OwnBytes,
        "OwnFloat": OwnFloat,
        "OwnInt": OwnInt,
        "OwnStr": OwnStr,
        "adder": adder,
        "array": array.array,
        "doubles": doubles,
        "every_other": every_other,
        "failing": failing,
        "functools": functools,
        "inf": math.inf,
        "nan": math.nan,
        "nothing": nothing,
        "os": os,
        "released": released,
        "signal": signal,
        "ssl": ssl,
        "structure": structure,
        "sys": sys,
        "trap": trap,
        "yielding": yielding,
    }
    return names
