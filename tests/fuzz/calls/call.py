"""A call as a pattern, from which the generator makes steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """An expression with gaps.

    `{kind}` is filled from the pool of that name, or with an earlier result of that kind, which is
    created if there is none. `[...]` is optional, and omitted most of the time.
    """

    pattern: str
    #: The kinds of its results, each with the attribute that holds it (empty: the result itself).
    makes: tuple[tuple[str, str], ...] = ()
    #: Used only in programs whose results are not compared.
    wild: bool = False
    #: As `Step.waits`.
    waits: bool = False
    #: The weight among the calls of its surface. With weight 0, it is used only if its result is
    #: needed.
    weight: int = 4


def calls(
    *patterns: str, wild: bool = False, waits: bool = False, weight: int = 4
) -> tuple[Call, ...]:
    """Returns calls whose results are not used."""
    return tuple(Call(pattern, (), wild, waits, weight) for pattern in patterns)


def maker(
    pattern: str, kind: str = "", *, waits: bool = False, weight: int = 4, **parts: str
) -> Call:
    """Returns a call whose result is used.

    Args:
        pattern: the expression.
        kind: the kind of its result.
        waits: as `Step.waits`.
        weight: as `Call.weight`.
        parts: the kinds of the result's attributes, by name.
    """
    makes = tuple((f".{name}", of) for name, of in parts.items())
    if kind:
        makes += (("", kind),)
    return Call(pattern, makes, False, waits, weight)
