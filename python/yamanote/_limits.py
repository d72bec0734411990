"""`Limits`: what a server puts up with."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    #: `first_byte`, `handshake`, `write_stall` and `idle` in milliseconds; 0 is no limit.
    _Times: TypeAlias = tuple[int, int, int, int]

_TIMES: Final = ("first_byte", "handshake", "write_stall", "idle")
_COUNTS: Final = ("max_connections", "buffered")

#: 24 days: the native clock of limits counts milliseconds in 32 bits.
_LONGEST: Final = 2_000_000.0


@dataclass(frozen=True)
class Limits:
    """What a server puts up with. `None` is no limit.

    The limits are for connections that servers accept, whatever runs on them. No limit drops bytes:
    a server that is full accepts no more, and the kernel keeps those that wait.

    Attributes:
        max_connections: how many connections may be open at once. Above it, the loop accepts none
            until one is lost.
        accept_rate: how many connections to accept a second, in bursts of a twentieth of that.
        first_byte: seconds in which a client must have sent something, or it is disconnected.
        handshake: seconds from accepting a TLS connection to the end of its handshake.
        write_stall: seconds in which a client must take some of the bytes that wait for it.
        idle: seconds in which bytes must move in either direction. Off for most servers: it ends
            WebSockets, which may be silent for long. Time in which the program has paused reading
            does not count, if nothing waits to be sent.
        buffered: bytes that may wait to be sent, over all transports of the loop. From a half on,
            connections whose bytes wait get no more of them and are not read; near the limit, no
            accepted connection is read. One callback may exceed it with what it writes at once.

    A connection that exceeds a time is aborted, at most a sixteenth of the shortest limit later;
    its protocol's `connection_lost` gets `None`. `loop.metrics()` counts them.

    Raises:
        TypeError: a limit is not a number, or a count is not an integer.
        ValueError: a limit is not more than 0, a time is less than 0.001 or more than 2,000,000
            seconds, or a count or rate is more than the machine can count.
    """

    max_connections: int | None = None
    accept_rate: float | None = None
    first_byte: float | None = None
    handshake: float | None = None
    write_stall: float | None = None
    idle: float | None = None
    buffered: int | None = None

    def __post_init__(self) -> None:
        """Check every limit."""
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) is not None:
                _check(field.name, value)


def _check(name: str, value: object) -> None:
    kinds, what = ((int,), "an integer") if name in _COUNTS else ((int, float), "a number")
    if not isinstance(value, kinds) or isinstance(value, bool):
        message = f"{name} must be {what} or None, not {type(value).__name__}"
        raise TypeError(message)
    if name in _TIMES:
        if not 0.001 <= value <= _LONGEST:
            message = f"{name} must be from 0.001 to {_LONGEST:,.0f} seconds, not {value!r}"
            raise ValueError(message)
        return
    most = sys.maxsize if name in _COUNTS else sys.float_info.max
    if not 0 < value <= most:
        message = f"{name} must be more than 0 and at most {most}, not {value!r}"
        raise ValueError(message)


def parsed(text: str) -> Limits:
    """Return the limits that `YAMANOTE_LIMITS` gives: `max_connections=10000,first_byte=10`.

    Raises:
        ValueError: a name is unknown or given twice, or a value is none.
    """
    known = [field.name for field in dataclasses.fields(Limits)]
    limits: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in known or name in limits:
            problem = "is given twice" if name in limits else "is not one of " + ", ".join(known)
            message = f"{name!r} {problem}"
            raise ValueError(message)
        try:
            limits[name] = int(value) if name in _COUNTS else float(value)
        except ValueError:
            message = f"{name} must be a number, not {value!r}"
            raise ValueError(message) from None
    return Limits(**limits)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def changed(before: Limits, limits: Limits | None, changes: dict[str, float | None]) -> Limits:
    """Return `limits`, or those before, with changes.

    Raises:
        TypeError: `limits` are none, or a change has an unknown name or is no number.
        ValueError: a change is out of range.
    """
    if limits is None:
        # Without any argument, there are none.
        limits = before if changes else Limits()
    elif not isinstance(limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance]
        message = f"limits must be yamanote.Limits, not {type(limits).__name__}"
        raise TypeError(message)
    unknown = changes.keys() - {field.name for field in dataclasses.fields(Limits)}
    if unknown:
        message = f"set_limits() got an unexpected keyword argument {min(unknown)!r}"
        raise TypeError(message)
    return dataclasses.replace(limits, **changes)  # type: ignore[arg-type]


def times_of(limits: Limits) -> _Times:
    """Return the time limits as the native part takes them."""
    first_byte, handshake, write_stall, idle = (
        round((getattr(limits, name) or 0) * 1000) for name in _TIMES
    )
    return first_byte, handshake, write_stall, idle


def times_for(
    before: _Times | None, limits: Limits | None, changes: dict[str, float | None]
) -> _Times | None:
    """Return the time limits that `set_limits()` of a transport sets.

    Raises:
        TypeError: also for a limit that no single connection has.
    """
    of_none = changes.keys() & {"max_connections", "accept_rate", "buffered"}
    if of_none:
        message = f"{min(of_none)} is a limit of servers and loops, not of one transport"
        raise TypeError(message)
    seconds = {name: ms / 1000 for name, ms in zip(_TIMES, before or (), strict=False) if ms}
    times = times_of(changed(Limits(**seconds), limits, changes))  # type: ignore[arg-type]
    return times if any(times) else None
