"""The day store, made once for all tests of the tools. A test that changes it copies it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.day import day, hurt


@pytest.fixture(scope="session")
def day_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole day store. Nobody writes to it."""
    path = tmp_path_factory.mktemp("day") / "day"
    asyncio.run(day(path))
    return path


@pytest.fixture
def hurt_store(day_store: Path, tmp_path: Path) -> Path:
    """A copy with a flipped bit in a segment behind the newest snapshot."""
    path = tmp_path / "hurt"
    shutil.copytree(day_store, path)
    hurt(path, segment_at(path, 4300))
    return path


def segment_at(path: Path, seq: int) -> int:
    """Return the first event of the segment in the log that holds event `seq`."""
    return max(int(file.stem) for file in (path / "log").glob("0*.log") if int(file.stem) <= seq)
