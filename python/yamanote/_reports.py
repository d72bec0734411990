"""Reports of failed and slow callbacks, made for the native core."""

from __future__ import annotations

import asyncio
import threading
from asyncio import base_events, format_helpers
from asyncio.log import logger
from traceback import StackSummary

from yamanote._origins import origin_of, remembered
from yamanote._yamanote import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from yamanote._parts import Base
else:
    Base = object


class Reports(Base):
    """Called from the turn, off its hot path, and by tasks that are lost."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report as asyncio does, with the lines that created the task, if they are remembered."""
        if isinstance(context, dict) and "source_traceback" not in context:  # pyright: ignore[reportUnnecessaryIsInstance]
            for key in ("task", "future"):
                task = context.get(key)
                if isinstance(task, asyncio.Task) and (lines := remembered(task)):  # pyright: ignore[reportUnknownArgumentType]
                    summary = StackSummary.from_list(list(lines))
                    context = {**context, "source_traceback": summary}
        super().call_exception_handler(context)

    def _report_callback_error(self, handle: Handle, error: BaseException) -> None:
        """Call the exception handler with asyncio's message and keys."""
        callback = handle._callback
        try:
            source = format_helpers._format_callback_source(  # pyright: ignore[reportPrivateUsage]
                callback, handle._args or ()
            )
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            # The callback's `repr` raises. On asyncio that ends the run, and `error` is lost.
            source = f"<unprintable {type(callback).__name__} object>"
        context: dict[str, Any] = {
            "message": f"Exception in callback {source}",
            "exception": error,
            "handle": handle,
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _trace_thread(self) -> None:
        """Tell the trace what this thread is called, as a run begins."""
        from yamanote._tracing import name_thread

        name_thread(threading.get_native_id())

    def _traced(self, error: BaseException) -> None:
        """Add a traceback to an error of the native core, as if it had been raised here."""
        try:
            raise error
        except BaseException:  # The caller reports it.
            pass
        finally:
            # Break the cycle: the traceback refers to this frame.
            del error

    def _report_slow_callback(self, culprit: object, seconds: float) -> None:
        """In debug mode, log what blocked the loop for `slow_callback_duration` or longer."""
        if seconds < self.slow_callback_duration:
            return
        name = culprit
        if isinstance(culprit, Handle):
            task: Any = getattr(culprit._callback, "__self__", None)
            name = str(base_events._format_handle(culprit))  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
            if isinstance(task, asyncio.Task) and hasattr(task, "_yamanote_origin"):  # pyright: ignore[reportUnknownArgumentType]
                # It was created before debug mode began, so asyncio's text does not say where.
                name = f"{name}, created at {origin_of(task)}"  # pyright: ignore[reportUnknownArgumentType]
        logger.warning("Executing %s took %.3f seconds", name, seconds)
