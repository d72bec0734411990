"""Fixtures for misbehaving programs and kernels."""

from __future__ import annotations

import pytest

from tests.faults import shim as faults_module


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> faults_module.Faults:
    """Makes chosen calls of child processes fail; skips the test where that is not possible."""
    return faults_module.build(tmp_path_factory.mktemp("faults"))
