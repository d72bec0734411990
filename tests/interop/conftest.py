"""Fixtures that check that no Rust future is left behind."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

from yamanote import _yamanote

if TYPE_CHECKING:
    from collections.abc import Iterator

# Some tests provoke panics: Rust reads this at the first one, and a backtrace takes seconds.
os.environ["RUST_BACKTRACE"] = "0"


@pytest.fixture(autouse=True)
def no_future_is_left() -> Iterator[None]:
    """Compares the count of live futures before and after, and fails on unraisable exceptions."""
    before = _yamanote._live_futures()
    yield
    gc.collect()
    assert _yamanote._live_futures() == before
