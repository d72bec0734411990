"""Reads the file of a trace as strictly as its format allows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@dataclass
class Slice:
    """A slice of a thread's time, with those inside it. Times are nanoseconds."""

    began: int
    ended: int
    thread: int
    name: str
    args: dict[str, Any]
    inside: list[Slice] = field(default_factory=list["Slice"])

    def everything(self) -> Iterator[Slice]:
        """Yields the slice and all inside it."""
        yield self
        for each in self.inside:
            yield from each.everything()


@dataclass
class ReadTrace:
    """What a file contains."""

    #: The outermost slices of each thread, in the order of time.
    tracks: dict[int, list[Slice]]
    #: The names of threads.
    threads: dict[int, str]
    #: Marks at one moment: their time in nanoseconds, thread, name and arguments.
    marks: list[tuple[int, int, str, dict[str, Any]]]
    process: int
    dropped: int

    def slices(self) -> list[Slice]:
        """Returns all slices."""
        outermost = [each for track in self.tracks.values() for each in track]
        return [each for one in outermost for each in one.everything()]

    def named(self, name: str) -> list[Slice]:
        """Returns the slices of that name, in the order of time."""
        found = [each for each in self.slices() if each.name == name]
        return sorted(found, key=lambda each: each.began)

    def names(self) -> set[str]:
        """Returns the names of all slices."""
        return {each.name for each in self.slices()}


def read(path: os.PathLike[str] | str) -> ReadTrace:
    """Reads a file; fails if it is not what a viewer expects, or if slices of a thread overlap."""
    # A reader must not need anything but ASCII, nor JavaScript's numbers.
    text = Path(path).read_bytes().decode("ascii")
    content = json.loads(text, parse_constant=_refuse, parse_float=Decimal)
    assert content["displayTimeUnit"] == "ns"
    events: list[dict[str, Any]] = content["traceEvents"]
    (process,) = {event["pid"] for event in events}
    slices: list[Slice] = []
    marks: list[tuple[int, int, str, dict[str, Any]]] = []
    threads: dict[int, str] = {}
    about_process = 0
    for event in events:
        thread, name, args = event["tid"], event["name"], event["args"]
        assert isinstance(thread, int)
        assert isinstance(name, str)
        if event["ph"] == "M":
            if name == "process_name":
                about_process += 1
                continue
            assert name == "thread_name"
            assert threads.setdefault(thread, args["name"]) == args["name"]
            continue
        assert isinstance(event["cat"], str)
        began = nanoseconds(event["ts"])
        if event["ph"] == "i":
            assert event["s"] == "t"
            marks.append((began, thread, name, args))
            continue
        assert event["ph"] == "X"
        slices.append(Slice(began, began + nanoseconds(event["dur"]), thread, name, args))
    assert about_process == 1
    dropped = content["otherData"]["dropped_events"]
    return ReadTrace(nested(slices), threads, marks, process, dropped)


def nanoseconds(microseconds: Decimal) -> int:
    """Returns what a viewer makes of a time."""
    # As Perfetto: a binary fraction, of which the nanoseconds are cut off.
    assert isinstance(microseconds, Decimal)
    assert microseconds >= 0
    seen = int(float(microseconds) * 1000.0)
    assert seen == int(microseconds * 1000)
    return seen


def nested(slices: list[Slice]) -> dict[int, list[Slice]]:
    """Puts each slice of a thread inside the one around it; fails if two overlap."""
    tracks: dict[int, list[Slice]] = {}
    around: dict[int, list[Slice]] = {}
    for each in sorted(slices, key=lambda each: (each.began, -each.ended)):
        stack = around.setdefault(each.thread, [])
        while stack and stack[-1].ended <= each.began:
            stack.pop()
        if stack:
            assert each.ended <= stack[-1].ended, f"{each} overlaps {stack[-1]}"
            stack[-1].inside.append(each)
        else:
            tracks.setdefault(each.thread, []).append(each)
        stack.append(each)
    return tracks


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")
