"""The desk store, made once. Nobody writes to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.desk import desk


@pytest.fixture(scope="session")
def desk_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("desk") / "desk"
    asyncio.run(desk(path))
    return path
