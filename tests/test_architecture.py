"""Is the map of the sources true? Which module may use which, and where risky code is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.architecture import Crate

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

# Lower rooms first: a room may use itself and the rooms before it.
LAYERS = (
    "sync",
    "sys",
    "ffi",
    "errors",
    "addr",
    "driver",
    "scheduler",
    "watchdog",
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
MOST_LINES_OF_RUST = 500
MOST_LINES_OF_A_FUNCTION = 50

#: Files that lead to each other: more than these few cannot be understood one at a time.
MOST_FILES_OF_A_CIRCLE = 3


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


def test_the_drawing_has_every_room_from_top_to_bottom() -> None:
    drawing = (ROOT / "docs" / "assets" / "architecture.svg").read_text()
    assert re.findall(r'class="room"[^>]*>(\w+)<', drawing) == list(reversed(LAYERS))


def test_the_page_says_of_the_rooms_what_the_sources_say() -> None:
    page = (ROOT / "docs" / "contribute" / "architecture.md").read_text()
    sources = (ROOT / "src" / "lib.rs").read_text()
    said = re.findall(r"^//! (\| `\w+` \| .* \|)$", sources, re.MULTILINE)
    assert re.findall(r"^(\| `\w+` \| .* \|)$", page, re.MULTILINE) == said
    assert [re.findall(r"`(\w+)`", row)[0] for row in said] == list(LAYERS)


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


def test_files_name_each_other_in_one_direction() -> None:
    crate = Crate(ROOT / "src")
    assert sum(map(len, crate.arrows.values())) > len(crate.arrows), "no arrows found"
    wide = [circle for circle in crate.circles() if len(circle) > MOST_FILES_OF_A_CIRCLE]
    assert not wide, "\n".join(" <-> ".join(circle) for circle in wide)


def test_a_circle_of_files_is_found(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "mod.rs").write_text("mod a;\nmod b;\npub(crate) use a::A;\nuse b::B;\n")
    (room / "a.rs").write_text("use super::b::{self, B};\n")
    (room / "b.rs").write_text("use crate::room::A;\n// use crate::room::c::C;\n")
    (room / "c.rs").write_text("fn it() { super::a::it() }\n")
    assert Crate(tmp_path).circles() == [["room/a", "room/b"]]


def test_streams_know_nothing_of_tls() -> None:
    crate = Crate(ROOT / "src")
    tls = ("transports", "tls")
    wrong = [
        "/".join(module)
        for module, targets in crate.arrows.items()
        if module[:1] == ("transports",) and module != ("transports",) and module[:2] != tls
        if any(target[:2] == tls for target in targets)
    ]
    assert not wrong


def test_no_function_is_longer_than_a_screen() -> None:
    head = re.compile(r'( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:unsafe )?(?:extern "C" )?fn (\w+)')
    long: list[str] = []
    for _, path in rust_files():
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if not (match := head.match(line)):
                continue
            # rustfmt ends a function with its own indentation; a declaration has a semicolon.
            ends = (f"{match[1]}}}", f"{match[1]});")
            length = 1
            for length, after in enumerate(lines[number:], 1):
                if after.startswith(ends[0]) or (
                    after.startswith(match[1] + ")") and after.endswith(";")
                ):
                    break
                if length == 1 and after.endswith((";", "}")):
                    break
            if length > MOST_LINES_OF_A_FUNCTION:
                long.append(f"{path.relative_to(ROOT)}: {match[2]} ({length})")
    assert not long, "\n".join(long)


def test_the_contributors_map_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("## Where do I look?") : text.index("## Writing Rust")]
    paths = re.findall(r"`((?:src|python)/[^`]*)`", table)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
    # An item that a row names stands in the row's last file.
    for row in table.splitlines():
        cells = row.split("|")
        if len(cells) > 2 and (
            named := re.search(r"(src/[\w/]+\.rs)`, `(\w+)`( and `(\w+)`)?", cells[2])
        ):
            code = (ROOT / named[1]).read_text()
            for item in filter(None, (named[2], named[4])):
                assert re.search(rf"\b{item}\b", code), (named[1], item)


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
    most = {".py": MOST_LINES, ".rs": MOST_LINES_OF_RUST}
    assert {
        name: lines
        for name, lines in lengths.items()
        if lines > (most[name[-3:]] if name.startswith("src/") else MOST_LINES)
    } == {}


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
