"""What a scenario is given: a loop, its files, and checks of its bytes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import contextlib
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.faults.injections import Injection

    #: A scenario: it raises what the loop raised, and leaves nothing behind in any case.
    Scene = Callable[["Stage"], Awaitable[None]]
    #: A scenario that makes loops itself, outside of a running one.
    OutsideScene = Callable[["Stage"], None]

#: What scenarios send: no part of it looks like another.
SENT = random.Random(17).randbytes(60_000)


class Wrong(Exception):
    """Bytes were lost, doubled or mixed up."""


class Stage:
    """Where one scenario plays, once."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], asyncio.AbstractEventLoop],
        files: Path,
        injection: Injection,
    ) -> None:
        """Store what the scenario uses.

        Args:
            loop: the loop that runs it.
            make: makes another loop of the kind.
            files: an existing folder with certificates.
            injection: told about each callback.
        """
        self.loop = loop
        self.make = make
        self.files = files
        self.injection = injection
        #: What is wrong with the bytes that arrived.
        self.wrongs: list[str] = []
        #: What the loop has reported.
        self.told: list[str] = []
        #: Transports of the scenario that are still open, as far as it knows.
        self.transports: list[Any] = []

    def step(self) -> None:
        """A callback of the scenario begins: a fault may end something, or raise."""
        self.injection.step(self)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Returns a block of a program's own code, in which no allocation fails."""
        return self.injection.paused()

    def opened(self, transport: Any) -> None:  # noqa: ANN401 - of any kind.
        """A transport was made."""
        with self.paused():
            self.transports.append(transport)

    def incomplete(self, what: str) -> None:
        """Raises an error about what did not happen: `Wrong` unless the loop has said so."""
        if self.told:
            raise ConnectionError(what)
        self.wrongs.append(what)
        raise Wrong(what)

    def check(self, received: bytes | bytearray, sent: bytes = SENT, *, whole: bool = True) -> None:
        """Raises `Wrong` unless the bytes are those sent, or with `whole=False` a beginning."""
        if received != (sent if whole else sent[: len(received)]):
            length = len(received)
            self.wrongs.append(f"{length} bytes, not the {len(sent)} that were sent")
            raise Wrong(self.wrongs[-1])
