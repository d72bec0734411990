"""What the native core tells in words: failed and slow callbacks."""

from __future__ import annotations

from asyncio import base_events, format_helpers
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from yamanote._yamanote import Handle

if TYPE_CHECKING:
    from yamanote._parts import Base
else:
    Base = object


class Reports(Base):
    """Called by the turn, off its hot path."""

    def _report_callback_error(self, handle: Handle, error: BaseException) -> None:
        """Tell the exception handler, with asyncio's words and keys."""
        callback = handle._callback
        try:
            source = format_helpers._format_callback_source(  # pyright: ignore[reportPrivateUsage]
                callback, handle._args or ()
            )
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            # Its `repr` raises: asyncio's run would end with that, and nothing be told of `error`.
            source = f"<unprintable {type(callback).__name__} object>"
        context: dict[str, Any] = {
            "message": f"Exception in callback {source}",
            "exception": error,
            "handle": handle,
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _traced(self, error: BaseException) -> None:
        """Give an error of the native core a traceback, as one has that was raised here."""
        try:
            raise error
        except BaseException:  # It is told by who asked.
            pass
        finally:
            # Its traceback refers to this frame.
            del error

    def _report_slow_callback(self, culprit: object, seconds: float) -> None:
        """In debug mode, name what kept the loop from everything else."""
        if seconds < self.slow_callback_duration:
            return
        name = culprit
        if isinstance(culprit, Handle):
            name = str(base_events._format_handle(culprit))  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
        logger.warning("Executing %s took %.3f seconds", name, seconds)
