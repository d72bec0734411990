"""The extension under `tests/rust_extension`, which `make dev` builds."""

from __future__ import annotations

from typing import Any

import pytest

rust: Any = pytest.importorskip(
    "yamanote_testing", reason="tests/rust_extension is not built: make dev does it"
)
