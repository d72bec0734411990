"""The contents of one hostile sequence, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An operation, and a random number for its choices.
Op = tuple[str, int]

#: What calls do to the connection or to the loop that calls them; weighted by repetition.
OPS = (
    *("write_small",) * 5,
    *("write_big",) * 2,
    "writelines",
    "write_eof",
    *("close",) * 2,
    "abort",
    *("pause_reading",) * 2,
    *("resume_reading",) * 3,
    *("set_protocol",) * 2,
    "set_buffered_protocol",
    "higher_mark",
    "default_mark",
    *("call_soon",) * 3,
    *("cancel",) * 2,
    "cancel_itself",
    "stop",
    *("raise",) * 2,
    "exit",
    "close_loop",
)
#: What happens between two turns of the loop, mostly actions of the peer.
STEPS = (
    *("send",) * 6,
    *("send_twice",),
    *("send_and_eof",),
    *("eof",) * 2,
    "reset",
    *("drain",) * 4,
    *("inside",) * 4,
    *("soon",) * 3,
)


@dataclass(frozen=True)
class Script:
    """One sequence.

    Attributes:
        seed: the seed that it was drawn from.
        accepted: whether the transport is of the accepting side.
        buffered: whether the first protocol is a `BufferedProtocol`.
        steps: the steps in order, with the operations performed from outside in each.
        reactions: the operations performed by the calls, in the order of the calls.
        answers: the results of `eof_received`, in the order of its calls.
    """

    seed: int
    accepted: bool
    buffered: bool
    steps: tuple[tuple[str, int, tuple[Op, ...]], ...]
    reactions: tuple[tuple[Op, ...], ...]
    answers: tuple[bool, ...]

    @classmethod
    def draw(cls, seed: int) -> Script:
        """Returns the script of this seed."""
        rng = random.Random(seed)
        names = iter(rng.choices(OPS, k=40))

        def ops() -> tuple[Op, ...]:
            count = int(rng.random() * 3)
            return tuple((next(names), rng.getrandbits(8)) for _ in range(count))

        return cls(
            seed=seed,
            accepted=rng.random() < 0.25,
            buffered=rng.random() < 0.25,
            steps=tuple(
                (name, rng.getrandbits(8), ops())
                for name in rng.choices(STEPS, k=rng.randint(2, 7))
            ),
            reactions=tuple(ops() if rng.random() < 0.6 else () for _ in range(12)),
            answers=tuple(rng.random() < 0.5 for _ in range(3)),
        )


def scripts(first: int, count: int) -> Iterator[Script]:
    """Yields the scripts of `count` seeds, from `first` on."""
    return (Script.draw(seed) for seed in range(first, first + count))
