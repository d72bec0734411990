"""Fixtures for programs and kernels that misbehave."""

from __future__ import annotations

import pytest

from tests.hostile import faults as faults_module


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> faults_module.Faults:
    """Has chosen calls of child processes fail; skips where that cannot be done."""
    return faults_module.build(tmp_path_factory.mktemp("faults"))
