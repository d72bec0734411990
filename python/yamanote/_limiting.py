"""The limits of a loop and its servers: setting them, and looking who exceeds them."""

from __future__ import annotations

import contextlib
import contextvars
import logging

from yamanote._yamanote import Core, ServerGate

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Final

    from yamanote._limits import Limits
    from yamanote._parts import Base
else:
    Base = object

#: Seconds from one report to the next.
REPORT_INTERVAL: Final = 60.0

#: Seconds between two looks at clients that must wait.
PRESSURE_INTERVAL: Final = 0.02

#: Seconds after a look that has failed, for want of memory or a descriptor for one.
RETRY_INTERVAL: Final = 1.0

#: What `LoopMetrics` calls the connections that each limit has ended.
_ENDED: Final = {
    "first_byte": "first_byte_timeouts",
    "handshake": "handshake_timeouts",
    "write_stall": "write_stalls",
    "idle": "idle_timeouts",
}


class Limiting(Base):
    """What limits do is native; here they are set, and the native part is called in time."""

    _limits: Limits | None = None
    _next_look: asyncio.TimerHandle | None = None
    _next_report: asyncio.TimerHandle | None = None
    _next_relief: asyncio.Handle | None = None
    #: What the last report has counted, by limit.
    _reported: dict[str, int] | None = None

    @property
    def limits(self) -> Limits:
        """The limits on the connections that the servers of this loop accept."""
        from yamanote._limits import Limits

        return self._limits or Limits()

    def set_limits(self, limits: Limits | None = None, /, **changes: float | None) -> None:
        """Set the limits on the connections that the servers of this loop accept.

        Times are for connections that are accepted from now on.

        Args:
            limits: a `yamanote.Limits`. `None`: those that there are, with `changes`; without
                changes, no limits.
            changes: the limits to change, by name; `None` is no limit.

        Raises:
            TypeError: `limits` are none, or a change has an unknown name or is no number.
            ValueError: a change is out of range.
        """
        from yamanote._limits import changed, times_of

        self._limits = limits = changed(self.limits, limits, changes)
        times = times_of(limits)
        has_risen = self._limit_connections(
            limits.max_connections,
            limits.accept_rate,
            times if any(times) else None,
            limits.buffered or 0,
        )
        if has_risen and not self.is_closed():
            self._watch_pressure()
        self._accept_rested()

    def _look_soon(self, wait: float) -> None:
        """Look in `wait` seconds, and not later, which connections exceed their limits."""
        if self._look_in(wait):
            return  # Which costs nothing until then: while there is a timer, turns read the clock.
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self.call_later(wait, self._look)

    def _look(self) -> None:
        """End the connections that exceed their limits, and look again in time."""
        self._next_look = None
        contextvars.Context().run(self._end_late_ones)

    def _end_late_ones(self) -> None:
        before = None
        wait = RETRY_INTERVAL
        try:
            before = self._ended()
            wait = self._shed()
        finally:
            if wait and self._next_look is None:
                self._look_soon(wait)
            if before is not None and self._ended() != before and self._next_report is None:
                self._reported = self._reported or before
                self._report()

    def _watch_pressure(self) -> None:
        """Look at all connections soon, since too many bytes wait to be sent."""
        if self._next_relief is not None:
            self._next_relief.cancel()
        self._next_relief = self.call_soon(self._relieve, True, context=contextvars.Context())

    def _relieve(self, has_risen: bool) -> None:
        """Have slow clients wait for more, until they or others have taken enough."""
        self._next_relief = None
        lasts = True  # Unless that is known: a protocol may end the run.
        try:
            lasts = self._press(has_risen)
        finally:
            if self._next_relief is None and (lasts or has_risen):
                # Also when it is over already: those that had to wait are told so.
                self._next_relief = self.call_later(
                    PRESSURE_INTERVAL, self._relieve, False, context=contextvars.Context()
                )

    def _ended(self) -> dict[str, int]:
        metrics = self.metrics()
        return {limit: getattr(metrics, name) for limit, name in _ENDED.items()}

    def _report(self) -> None:
        """Log what limits have ended since the last report."""
        self._next_report = None
        ended, before = self._ended(), self._reported or {}
        new = {limit: count - before.get(limit, 0) for limit, count in ended.items()}
        total = sum(new.values())
        if not total:
            return
        self._reported = ended
        # Reports of a busy minute become one, when it is over.
        self._next_report = self.call_later(
            REPORT_INTERVAL, self._report, context=contextvars.Context()
        )
        counts = ", ".join(f"{count} {limit}" for limit, count in new.items() if count)
        logging.getLogger("yamanote").warning("limits ended %d connection(s): %s", total, counts)


def gate_of(server: object) -> ServerGate:
    """Return the native part of a server's limits; a new one for an object that can keep none."""
    gate: object = getattr(server, "_gate", None)
    if isinstance(gate, ServerGate):
        return gate
    gate = Core._make_gate()
    # `None`, or a server of the program's own making, may refuse it.
    with contextlib.suppress(AttributeError):
        setattr(server, "_gate", gate)  # noqa: B010
    return gate


def switch_on(value: str) -> None:
    """Limit every loop of the process: `YAMANOTE_LIMITS`."""
    from yamanote._every_loop import call_for_new, every_loop
    from yamanote._limits import parsed

    limits = parsed(value)
    call_for_new(lambda loop: loop.set_limits(limits))
    for loop in every_loop():
        loop.set_limits(limits)
