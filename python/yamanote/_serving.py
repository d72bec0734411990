"""`Server`: asyncio's own, and what it lacks."""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yamanote._limits import Limits


class Server(asyncio.Server):
    """What `asyncio.start_server()`, `loop.create_server()` and those for Unix sockets return.

    asyncio's own class, with more methods. Type checkers know only asyncio's, so tell them:
    `assert isinstance(server, yamanote.Server)`.
    """

    _limits: Limits | None = None

    @property
    def limits(self) -> Limits | None:
        """The server's own limits; `None` if it has those of the loop."""
        return self._limits

    def set_limits(self, limits: Limits | None = None, /, **changes: float | None) -> None:
        """Set limits on the connections of this server.

        Times are for connections that are accepted from now on, and replace those of the loop. The
        loop's `max_connections`, `accept_rate` and `buffered` hold as well.

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
        if limits is None and not changes:
            self._limits = None
            gate.set(None, None, None)
            return
        limits = changed(self._limits or Limits(), limits, changes)
        if limits.buffered is not None:
            raise ValueError("buffered is a limit of loops, not of one server")
        self._limits = limits
        gate.set(limits.max_connections, limits.accept_rate, times_of(limits))


def adopted(server: asyncio.Server) -> asyncio.Server:
    """Make a server of exactly asyncio's class one of ours; any other stays what it is."""
    if type(server) is asyncio.Server:
        server.__class__ = Server  # An instance of either has the same layout.
    return server
