"""One day store for all tests of a module, and a copy of the store for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repair.day_store import copy_of, make


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("day") / "day")


@pytest.fixture
def hurt(day: Path, tmp_path: Path) -> Path:
    return copy_of(day, tmp_path / "hurt")
