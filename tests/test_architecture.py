"""Is the map of the sources true? Which module may use which, and where risky code is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

# Lower rooms first: a room may use itself and the rooms before it.
LAYERS = (
    "sys",
    "ffi",
    "errors",
    "addr",
    "driver",
    "scheduler",
    "transports",
    "sock",
    "interop",
    "event_loop",
)

# Only these rooms may contain the pattern.
ROOMS_OF = {
    r"\bpyo3::ffi\b": ("ffi",),
    r"\blibc::": ("sys",),
    r"\btokio::": ("driver",),
    r"\bunsafe\b": ("ffi", "sys", "driver"),
    # They panic if there is no memory for the string; `name!` of `ffi/names.rs` does not.
    r"\bintern!|\bPyString::intern\b": (),
    # These panic, too: `ffi/make.rs` has replacements.
    r"\bPy(String|Bytes|Int|Float|Tuple|List|Dict|Slice)::new\b": ("ffi",),
    r"\.import\(": ("ffi",),
}

MOST_LINES = 600


def rust_files() -> Iterator[tuple[str, Path]]:
    """Yields each file of the crate with its room; `lib.rs` is above all rooms and has none."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        room = path.relative_to(ROOT / "src").parts[0].removesuffix(".rs")
        if room != "lib":
            yield room, path


def code_of(path: Path) -> str:
    """Returns the text of a Rust file without its comments."""
    return re.sub(r"//[^\n]*", "", path.read_text())


def named_rooms(path: Path) -> set[str]:
    """Returns the top-level modules of the crate that a file uses, by any form of path."""
    module = path.relative_to(ROOT / "src").with_suffix("").parts
    depth = len(module) - (module[-1] == "mod")
    code = code_of(path)
    names = set(re.findall(r"\bcrate::(\w+)", code))
    for group in re.finditer(r"\bcrate::\{", code):
        names.update(heads(code[group.end() :]))
    for chain, name in re.findall(r"\b((?:super::)+)(\w+)", code):
        if chain.count("super") >= depth and name in LAYERS:
            names.add(name)
    return names


def heads(group: str) -> Iterator[str]:
    """Returns the first name of each path in the rest of a `use crate::{` group."""
    level = 0
    path = ""
    for character in group:
        if level == 0 and character in ",}":
            if head := re.match(r"\s*(\w+)", path):
                yield head[1]
            path = ""
            if character == "}":
                return
        else:
            level += {"{": 1, "}": -1}.get(character, 0)
            path += character


def test_the_map_has_every_room_and_no_other() -> None:
    rooms = {room for room, _ in rust_files()}
    assert rooms, "no sources found"
    assert rooms == set(LAYERS)
    assert {room for allowed in ROOMS_OF.values() for room in allowed} <= rooms


def test_no_room_names_one_above_it() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {room} -> {name}"
        for room, path in rust_files()
        for name in named_rooms(path)
        if name not in LAYERS[: LAYERS.index(room) + 1]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("pattern", ROOMS_OF)
def test_risky_things_stay_in_their_rooms(pattern: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room, path in rust_files()
        if room not in ROOMS_OF[pattern]
        for line in code_of(path).splitlines()
        if re.search(pattern, line)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_python_file_imports_the_package_itself() -> None:
    wrong = [
        f"{path.name}: {line}"
        for path in sorted((ROOT / "python" / "yamanote").glob("_[a-z]*.py*"))
        for line in path.read_text().splitlines()
        if re.match(r"\s*(import yamanote(\s|$)|from yamanote import )", line)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_has_grown_a_second_noun() -> None:
    sources = [
        path
        for folder in ("src", "python", "benches", "examples")
        for path in (ROOT / folder).rglob("*")
        # The stub is a manual, so it is as long as what it describes.
        if path.suffix in {".rs", ".py"} and "target" not in path.parts
    ]
    assert sources, "no sources found"
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_paths_through_a_group_or_a_parent_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "src" / "driver"
    room.mkdir(parents=True)
    source = room / "mod.rs"
    source.write_text(
        "use crate::{ffi::{self, Names}, scheduler::{Core, turn::Turn}, sys};\n"
        "use super::event_loop;\n"
        "use crate::addr::round_trip;\n"
        "// crate::dns\n"
    )
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert named_rooms(source) == {"addr", "event_loop", "ffi", "scheduler", "sys"}
