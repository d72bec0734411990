"""A call as a pattern, of which the generator makes steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """An expression with gaps.

    `{kind}` is filled from the pool of that name, or with an earlier result of that kind, which is
    made if there is none. What stands in `[...]` is left out most of the time.
    """

    pattern: str
    #: The kinds of its results: the attribute that has it (empty: the result itself), and the kind.
    makes: tuple[tuple[str, str], ...] = ()
    #: Only in programs whose results are not compared.
    wild: bool = False
    #: As `Step.waits`.
    waits: bool = False
    #: How often, beside the other calls of the surface. Without weight it is only made where its
    #: result is needed.
    weight: int = 4


def calls(
    *patterns: str, wild: bool = False, waits: bool = False, weight: int = 4
) -> tuple[Call, ...]:
    """Calls whose results are not used."""
    return tuple(Call(pattern, (), wild, waits, weight) for pattern in patterns)


def maker(
    pattern: str, kind: str = "", *, waits: bool = False, weight: int = 4, **parts: str
) -> Call:
    """A call whose results are used.

    Args:
        pattern: the expression.
        kind: the kind of its result.
        waits: as `Step.waits`.
        weight: as `Call.weight`.
        parts: by the name of an attribute of the result, its kind.
    """
    makes = tuple((f".{name}", of) for name, of in parts.items())
    if kind:
        makes += (("", kind),)
    return Call(pattern, makes, False, waits, weight)
