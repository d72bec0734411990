"""What a loop counts about itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yamanote._metrics import LoopMetrics
    from yamanote._parts import Base
else:
    Base = object


class Metering(Base):
    """Counting is native; a snapshot is made here."""

    def metrics(self) -> LoopMetrics:
        """Return a snapshot of the loop's counters and gauges.

        Callable from any thread, before the loop runs, while it runs, and after `close()`.
        """
        # Imported when first used: it takes 2 ms, most of it for the dataclasses.
        from yamanote._metrics import snapshot

        return snapshot(self._read_meters())
