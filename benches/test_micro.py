"""The micro workloads under pytest-benchmark: `pytest benches`.

Good for a quick look at one loop and for `--benchmark-compare`; `compare.py` is what figures are
quoted from, because here one process measures everything, one loop after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

import loops
import micro

if TYPE_CHECKING:
    from collections.abc import Callable


class Benchmark(Protocol):
    """What is used of pytest-benchmark's fixture, which has no types of its own."""

    group: str | None
    extra_info: dict[str, object]

    def pedantic(
        self, target: Callable[..., object], *, setup: Callable[[], Any], rounds: int
    ) -> None:
        """Time `target`, which is called with what `setup` gives, once per round."""


@pytest.mark.parametrize("loop_name", loops.available())
@pytest.mark.parametrize("workload", micro.WORKLOADS.values(), ids=micro.WORKLOADS)
def test_micro(benchmark: Benchmark, workload: micro.Workload, loop_name: str) -> None:
    """Time a tenth of the workload, ten times; the figures are for all of its operations."""
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
