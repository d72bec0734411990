"""The micro workloads under pytest-benchmark: `pytest benches`.

Useful for a quick look at one loop and for `--benchmark-compare`. Published figures come from
`compare.py`, because here a single process measures all loops, one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

import loops
import micro

if TYPE_CHECKING:
    from collections.abc import Callable


class Benchmark(Protocol):
    """The used part of pytest-benchmark's fixture, which is untyped."""

    group: str | None
    extra_info: dict[str, object]

    def pedantic(
        self, target: Callable[..., object], *, setup: Callable[[], Any], rounds: int
    ) -> None:
        """Time `target`, called once per round with the result of `setup`."""


@pytest.mark.parametrize("loop_name", loops.available())
@pytest.mark.parametrize("workload", micro.WORKLOADS.values(), ids=micro.WORKLOADS)
def test_micro(benchmark: Benchmark, workload: micro.Workload, loop_name: str) -> None:
    """Time a tenth of the workload ten times; a figure covers all operations of a round."""
    operations = workload.operations // 10
    benchmark.group = f"{workload.name}, {operations:,} operations"
    benchmark.extra_info["operations"] = operations
    loop = loops.new(loop_name)
    rounds = 0

    def call(timed: micro.Timed) -> None:
        timed()

    def prepare() -> tuple[tuple[micro.Timed], dict[str, object]]:
        nonlocal rounds
        rounds += 1
        return (workload.prepare(loop, operations),), {}

    try:
        benchmark.pedantic(call, setup=prepare, rounds=10)
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    assert rounds >= 1
