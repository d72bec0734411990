"""The pytest plugin beside decorators, other plugins and test classes of all kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]

DECORATED = """
import asyncio, functools, pytest

def twice(test):
    @functools.wraps(test)
    async def both(*args, **kwargs):
        await test(*args, **kwargs)
        await test(*args, **kwargs)
    return both

ran = []

@pytest.mark.asyncio
@pytest.mark.yamanote(virtual_time=True)
@twice
async def test_it():
    ran.append("it")
    await asyncio.sleep(3600)

class TestIt:
    @pytest.mark.asyncio
    @pytest.mark.yamanote(seeds=0)
    @twice
    async def test_in_a_class(self):
        ran.append("class")
        await asyncio.sleep(60)

def test_that_they_ran():
    assert ran == ["it", "it", "class", "class"]
"""


@pytest.mark.parametrize(
    "options", [["-p", "no:asyncio", "-W", "ignore"], [], ["--yamanote"]], ids=str
)
def test_decorators_stay(pytester: pytest.Pytester, options: Sequence[str]) -> None:
    pytester.makepyfile(DECORATED)
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=3)


def test_hypothesis_and_unittest_run_as_always(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio, unittest, pytest
        from hypothesis import given, strategies as st
        from yamanote.testing import explore

        @given(st.integers(1, 9))
        def test_explored(number):
            async def main():
                await asyncio.sleep(number)
            assert explore(main, seeds=2).runs == 3

        @pytest.mark.yamanote(virtual_time=True)
        def test_synchronous():
            pass

        @pytest.mark.yamanote(virtual_time=True)
        class TestOther(unittest.IsolatedAsyncioTestCase):
            async def test_it(self):
                await asyncio.sleep(0)
        """
    )
    for options in ([], ["--yamanote"]):
        result = pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:asyncio", *options)
        result.assert_outcomes(passed=3)
        assert result.ret == 0


def test_hypothesis_with_pytest_asyncio_runs_on_our_loop(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio, pytest, yamanote
        from hypothesis import given, settings, strategies as st

        @pytest.mark.asyncio
        @settings(max_examples=5, deadline=None)
        @given(number=st.integers(1, 9))
        async def test_it(number):
            await asyncio.sleep(0)
            assert isinstance(asyncio.get_running_loop(), yamanote.Loop)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:anyio", "--yamanote")
    result.assert_outcomes(passed=1)


def test_a_skip_skips_and_a_failure_has_its_order(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.yamanote(seeds=5)
        async def test_skipped():
            pytest.skip("not here")

        @pytest.mark.yamanote(seeds=5)
        async def test_failed():
            pytest.fail("wrong")
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(skipped=1, failed=1)
    result.stdout.fnmatch_lines(["*ScheduleError: fails in asyncio's own order: Failed: wrong*"])
