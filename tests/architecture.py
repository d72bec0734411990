"""The arrows between the files of the crate, read from their paths.

A file has an arrow to each other one that it takes an item from. A `mod.rs` that only passes an
item on (`pub(crate) use`) has none for it: who imports it there has an arrow to where it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Module = tuple[str, ...]

USE = re.compile(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
ITEM = r"\b(?:fn|type|struct|enum|const|static|trait)\s+"


class Import(NamedTuple):
    """What one path of a `use` brings in."""

    name: str
    path: Module
    passed_on: bool


class Crate:
    """The files below `src`, by module."""

    def __init__(self, source: Path) -> None:
        """Reads them."""
        self.code: dict[Module, str] = {}
        self._folders: set[Module] = set()
        for path in sorted(source.rglob("*.rs")):
            module = path.relative_to(source).with_suffix("").parts
            if module == ("lib",):
                continue
            if module[-1] == "mod":
                module = module[:-1]
                self._folders.add(module)
            self.code[module] = code_of(path)
        self._addresses: dict[Module, Module] = {}
        imports = {module: list(self._imports(module)) for module in self.code}
        for module in self._folders:
            for item in imports[module]:
                self._addresses[(*module, item.name)] = item.path
        self.arrows: dict[Module, set[Module]] = {
            module: set(self._targets(module, imports[module])) for module in self.code
        }

    def circles(self) -> list[list[str]]:
        """The sets of files that all lead to each other, largest first."""
        found = [members for members in components(self.arrows) if len(members) > 1]
        named = [sorted("/".join(module) for module in members) for members in found]
        return sorted(named, key=len, reverse=True)

    def _imports(self, module: Module) -> Iterator[Import]:
        for public, tree in USE.findall(self.code[module]):
            for path, name in expanded(tree):
                if (target := self._absolute(path, module)) is not None:
                    passed_on = module in self._folders and (bool(public) or " as " in tree)
                    yield Import(name, target, passed_on)

    def _targets(self, module: Module, imports: list[Import]) -> Iterator[Module]:
        known = {item.name: item.path for item in imports}
        paths = [item.path for item in imports if not item.passed_on]
        for text in re.findall(r"\b(\w+(?:::\w+)+)", USE.sub("", self.code[module])):
            path = tuple(text.split("::"))
            target = self._absolute(path, module)
            if target is None and path[0] in known:
                target = known[path[0]] + path[1:]
            if target is not None:
                paths.append(target)
        for path in paths:
            if (target := self._home(path)) is not None and target != module:
                yield target

    def _absolute(self, path: Module, module: Module) -> Module | None:
        """A path from the top of the crate; `None` for other crates and what is in scope."""
        if path[0] == "crate":
            return path[1:]
        ups = len([step for step in path if step == "super"])
        if ups == 1 and len(path) == 2 and re.search(ITEM + path[1] + r"\b", self.code[module]):
            return None  # A module inside the file, which means the file.
        if ups or path[0] == "self":
            return module[: len(module) - ups] + path[max(ups, 1) :]
        return module + path if (*module, path[0]) in self.code else None

    def _home(self, path: Module) -> Module | None:
        """The file where the item of a path is."""
        seen: set[Module] = set()
        while True:
            fronts = (path[:length] for length in range(len(path), 0, -1))
            front = next((it for it in fronts if it in self._addresses and it not in seen), None)
            if front is None:
                break
            seen.add(front)
            path = self._addresses[front] + path[len(front) :]
        fronts = (path[:length] for length in range(len(path), 0, -1))
        return next((front for front in fronts if front in self.code), None)


def code_of(path: Path) -> str:
    """A Rust file's text without its comments and its unit tests."""
    code = re.sub(r"//[^\n]*", "", path.read_text())
    return re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*\Z", "", code, flags=re.DOTALL)


def expanded(tree: str) -> Iterator[tuple[Module, str]]:
    """The paths of a `use` tree, each with the name that it has from then on."""
    tree = tree.strip()
    if group := re.fullmatch(r"((?:\w+::)*)\{(.*)\}", tree, re.DOTALL):
        front = tuple(step for step in group[1].split("::") if step)
        for branch in branches(group[2]):
            for path, name in expanded(branch):
                yield front + path, name
        return
    text, _, alias = tree.partition(" as ")
    path = tuple(step.strip() for step in text.split("::"))
    if path[-1] == "self":
        path = path[:-1]
    if path:
        yield path, alias.strip() or path[-1]


def branches(group: str) -> Iterator[str]:
    """What the commas of a group separate."""
    level = 0
    branch = ""
    for character in f"{group},":
        if level == 0 and character == ",":
            if branch.strip():
                yield branch
            branch = ""
        else:
            level += {"{": 1, "}": -1}.get(character, 0)
            branch += character


def components(arrows: dict[Module, set[Module]]) -> Iterator[list[Module]]:
    """The strongly connected components: those that lead to each other (Kosaraju)."""
    order: list[Module] = []
    visited: set[Module] = set()

    def finish(module: Module) -> None:
        visited.add(module)
        for target in sorted(arrows[module]):
            if target not in visited:
                finish(target)
        order.append(module)

    for module in arrows:
        if module not in visited:
            finish(module)
    sources: dict[Module, set[Module]] = {module: set() for module in arrows}
    for module, targets in arrows.items():
        for target in targets:
            sources[target].add(module)
    left = set(arrows)
    for module in reversed(order):
        members: list[Module] = []
        waiting = [module] if module in left else []
        while waiting:
            member = waiting.pop()
            if member in left:
                left.discard(member)
                members.append(member)
                waiting.extend(sources[member] & left)
        if members:
            yield members
