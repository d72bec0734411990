"""The file of a trace: Chrome's trace event format, as JSON."""

from __future__ import annotations

import json
import os
import sys

from yamanote._yamanote import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType
    from typing import Final

    from yamanote._yamanote import TraceEvent

#: Bytes that are written at once.
_AT_ONCE: Final = 1 << 17
#: Names that are kept as JSON, so that a name is not made into JSON for each of its events.
_MOST_NAMES: Final = 10_000


def write(file: int, head: dict[str, object], events: Iterable[str]) -> None:
    """Write a whole file.

    Args:
        file: the descriptor.
        head: what the file says about itself.
        events: the events, each as JSON.

    Raises:
        OSError: the system could not write it.
    """
    data = bytearray(b'{"displayTimeUnit":"ns","otherData":')
    data += json.dumps({**head, "yamanote": __version__}).encode() + b',"traceEvents":[\n'
    data += _about("process_name", 0, os.path.basename(getattr(sys, "argv", [""])[0]) or "python")
    for event in events:
        data += b",\n"
        data += event.encode()
        if len(data) >= _AT_ONCE:
            _write_all(file, data)
            data.clear()
    data += b"\n]}\n"
    _write_all(file, data)


def _write_all(file: int, data: bytearray) -> None:
    with memoryview(data) as left:
        written = 0
        while written < len(left):
            written += os.write(file, left[written:])


def name_of_thread(thread: int, name: str) -> str:
    """Return the event that names a thread, by the kernel's number of it."""
    return _about("thread_name", thread, name).decode()


def _about(what: str, thread: int, name: str) -> bytes:
    args = json.dumps({"name": name})
    return f'{{"ph":"M","pid":{os.getpid()},"tid":{thread},"name":"{what}","args":{args}}}'.encode()


def slices(events: Iterable[TraceEvent]) -> Iterator[str]:
    """Return the events of the native core as slices."""
    process = os.getpid()
    known: dict[tuple[str, str | None, int], tuple[str, CodeType | None]] = {}
    for began, ended, thread, kind, name, code, task in events:
        key = (kind if task is None else "task", name, id(code))
        if key not in known:
            if len(known) >= _MOST_NAMES:
                known.clear()
            # The code is kept with it: another one does not get its identity meanwhile.
            known[key] = (_named(*key[:2], code), code)
        what = known[key][0]
        if task is not None:
            what += f',"task":{json.dumps(task)}'
        yield (
            f'{{"ph":"X","pid":{process},"tid":{thread},"ts":{microseconds(began)},'
            f'"dur":{microseconds(ended - began)},{what}}}}}'
        )


def _named(kind: str, name: str | None, code: CodeType | None) -> str:
    """Return the category, the name and the beginning of the arguments."""
    if name is None:
        shown = kind
    elif kind in ("callback", "task"):
        shown = name
    else:
        shown = f"{name}: {kind}"
    args = f'"kind":{json.dumps(kind)}'
    if code is not None:
        args += f',"at":{json.dumps(f"{code.co_filename}:{code.co_firstlineno}")}'
    return f'"cat":"yamanote","name":{json.dumps(shown)},"args":{{{args}'


def slice_of(began: int, ended: int, thread: int, name: str, args: dict[str, object]) -> str:
    """Return a slice of another source. Times are nanoseconds of `time.monotonic_ns()`."""
    return _event(
        f'"ph":"X","ts":{microseconds(began)},"dur":{microseconds(ended - began)}',
        thread,
        name,
        args,
    )


def instant(at: int, thread: int, name: str, args: dict[str, object]) -> str:
    """Return a mark at one moment, in nanoseconds of `time.monotonic_ns()`."""
    return _event(f'"ph":"i","s":"t","ts":{microseconds(at)}', thread, name, args)


def _event(first: str, thread: int, name: str, args: dict[str, object]) -> str:
    names = f'"cat":"yamanote","name":{json.dumps(name)},"args":{json.dumps(args)}'
    return f'{{{first},"pid":{os.getpid()},"tid":{thread},{names}}}'


def microseconds(nanoseconds: int) -> str:
    """Return a time in the format's unit.

    Readers make binary fractions of it and cut their nanoseconds off. Three tenths of a nanosecond
    more are lost in that, instead of a whole one: slices that touch would else overlap.
    """
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03}3"
