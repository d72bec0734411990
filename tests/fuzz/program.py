"""A program: named blocks of steps, each step one Python expression.

As text it is what a report prints, and what `--program` reads:

    # strict
    r1 = tcp(Plain(data_received=on("b1")), Plain())
    r2 = r1.client.write(b"x")
    b1:
        r3 = r1.client.close()
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The block that runs first; callbacks run the others.
MAIN = "main"

_STEP = re.compile(r"(?P<name>r\d+) = (?P<expression>.+)")
_BLOCK = re.compile(r"(?P<name>b\d+):")

#: Expressions that bring events from outside the loop, sooner or later.
_KERNEL = re.compile(
    r"\b(child|subprocess_\w+|sockets|tcp_sockets|listener|pipes?|tcp|unix|tls|streams|datagrams"
    r"|sock_\w+|create_\w*(server|connection|endpoint)|connect_\w+|add_(reader|writer)"
    r"|run_in_executor|getaddrinfo|getnameinfo|in_thread|beside|forked|signalled|rust|fs|file)\b"
)


@dataclass(frozen=True)
class Step:
    """One call; later steps may use its result by name."""

    name: str
    expression: str
    #: Whether to wait for the step until it is done, in real time: other threads contribute to it.
    waits: bool = False

    def __str__(self) -> str:
        """The step as a line of a program."""
        return f"{self.name} = {self.expression}{'  # waits' if self.waits else ''}"


@dataclass(frozen=True)
class Program:
    """The program of one seed."""

    #: Each step with the name of its block; the steps of a block are in order.
    steps: tuple[tuple[str, Step], ...]
    #: Whether loops may differ in how often they inspect an object: results are then not compared,
    #: but it must not crash, hang, leak or end a loop.
    wild: bool = False

    def blocks(self) -> dict[str, list[Step]]:
        """Returns the steps of each block."""
        blocks: dict[str, list[Step]] = {}
        for block, step in self.steps:
            blocks.setdefault(block, []).append(step)
        return blocks

    def expressions(self) -> dict[str, str]:
        """Returns the expressions of the steps, by name."""
        return {step.name: step.expression for _, step in self.steps}

    def is_quiet(self) -> bool:
        """Returns whether it uses no data from the kernel: no bytes, no child, no other thread."""
        return not any(
            step.waits or _KERNEL.search(step.expression) is not None for _, step in self.steps
        )

    def closes_descriptors(self) -> bool:
        """Returns whether it closes or replaces descriptors that other objects use."""
        return any(re.search(r"os\.(close|dup2)\(", step.expression) for _, step in self.steps)

    def reachable(self) -> Program:
        """Returns the program without the blocks that no step mentions."""
        blocks = self.blocks()
        found: set[str] = set()
        waiting = [MAIN]
        while waiting:
            block = waiting.pop()
            if block not in found:
                found.add(block)
                for step in blocks.get(block, ()):
                    waiting.extend(re.findall(r'"(b\d+)"', step.expression))
        return Program(tuple(pair for pair in self.steps if pair[0] in found), self.wild)

    def __str__(self) -> str:
        """The program as text."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "# wild" if self.wild else "# strict"
        blocks = self.blocks()
        yield from map(str, blocks.pop(MAIN, ()))
        for name, steps in blocks.items():
            yield f"{name}:"
            for step in steps:
                yield f"    {step}"


def parse(text: str) -> Program:
    """Parses the output of `str(program)`.

    Raises:
        ValueError: a line is neither a step nor the name of a block.
    """
    steps: list[tuple[str, Step]] = []
    block = MAIN
    wild = False
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line.startswith("#") or not line:
            wild = wild or line == "# wild"
        elif match := _BLOCK.fullmatch(line):
            block = match["name"]
        elif match := _STEP.fullmatch(line.removesuffix("# waits").rstrip()):
            waits = line.endswith("# waits")
            steps.append((block, Step(match["name"], match["expression"], waits)))
        else:
            message = f"line {number} is no step and no block: {line!r}"
            raise ValueError(message)
    return Program(tuple(steps), wild)
