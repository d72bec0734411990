"""`Server`: asyncio's own, and what it lacks."""

from __future__ import annotations

import asyncio
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from yamanote._draining import Draining
    from yamanote._limits import Limits


class Server(asyncio.Server):
    """What `asyncio.start_server()`, `loop.create_server()` and those for Unix sockets return.

    asyncio's own class, with more methods. Type checkers know only asyncio's, so tell them:
    `assert isinstance(server, yamanote.Server)`.
    """

    _limits: Limits | None = None
    _draining: Draining | None = None

    @property
    def limits(self) -> Limits | None:
        """The server's own limits; `None` if it has those of the loop."""
        return self._limits

    def set_limits(self, limits: Limits | None = None, /, **changes: float | None) -> None:
        """Set limits on the connections of this server.

        Times are for connections that are accepted from now on, and replace those of the loop, also
        with `None`. The loop's `max_connections`, `accept_rate` and `buffered` hold as well.

        Args:
            limits: a `yamanote.Limits`, without `buffered`, which is the loop's. `None`: those
                that the server has, with `changes`; without changes, none but the loop's.
            changes: the limits to change, by name; `None` is no limit.

        Raises:
            TypeError: `limits` are none, or a change has an unknown name or is no number.
            ValueError: a change is out of range, or `buffered` is limited.
        """
        from yamanote._limiting import gate_of
        from yamanote._limits import Limits, changed, times_of

        gate = gate_of(self)
        loop: Any = self.get_loop()
        if limits is None and not changes:
            self._limits = None
            gate.set(None, None, None)
            loop._accept_rested()
            return
        limits = changed(self._limits or Limits(), limits, changes)
        if limits.buffered is not None:
            raise ValueError("buffered is a limit of loops, not of one server")
        self._limits = limits
        gate.set(limits.max_connections, limits.accept_rate, times_of(limits))
        loop._accept_rested()

    async def drain(
        self,
        timeout: float | None,  # noqa: ASYNC109 - what is left at the end is ended, not cancelled.
        *,
        quiet: float | None = 1.0,
    ) -> int:
        """Close the listeners, let the connections finish, and end those that do not.

        Clients that the kernel has connected already are accepted first. From then on, a connection
        is done when its protocol closes it. One that is quiet gets a `transport.close()`: nothing
        waits to be sent, the last bytes that moved went to the client (or none ever came), and that
        has been so for `quiet` seconds. One that owes an answer, because bytes came in after the
        last that went out, is waited for.

        What is left at the deadline ends at once: by `transport.abort()` if it has unsent bytes, by
        `transport.close()` otherwise. A TLS connection is closed with a close_notify, and at the
        deadline does not wait for the peer's.

        A server that is closed already, with connections left, can be drained. Two drains at a time
        share their work; each has its own deadline. Cancelling leaves the connections as they are,
        and the listeners closed. A `serve_forever()` is cancelled when the drain is over.

        Args:
            timeout: seconds until the deadline; `None` is for ever.
            quiet: seconds without a byte; 0 closes a quiet connection at once, `None` closes none.
                A response that pauses for longer between two parts looks quiet.

        Returns:
            How many connections the deadline cut off: they had unsent bytes, owed an answer, or had
            received bytes that were not read. Others have lost nothing.

        Raises:
            TypeError: `timeout` or `quiet` is no number.
            ValueError: one of them is negative or not a number (NaN).
        """
        timeout, quiet = seconds("timeout", timeout), seconds("quiet", quiet)
        if self._draining is None:
            from yamanote._draining import Draining

            self._draining = Draining(self)
        return await self._draining.drain(timeout, quiet)


def adopted(server: asyncio.Server) -> asyncio.Server:
    """Make a server of exactly asyncio's class one of ours; any other stays what it is."""
    if type(server) is asyncio.Server:
        server.__class__ = Server  # An instance of either has the same layout.
    return server


def seconds(name: str, value: object) -> float | None:
    """Return a checked number of seconds; `None` for ever."""
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return None if value > sys.float_info.max else float(value)
