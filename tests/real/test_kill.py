"""`kill -9` at any instant: every acknowledged event is there, and the lock is free."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from eventstore import Durability
from tests.real.conftest import Start
from tests.real.lives import Witness, busy_config, live

STORES = 10
LIVES = 10


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(STORES))
async def test_whatever_was_acknowledged_survives_being_killed(
    seed: int, tmp_path: Path, start: Start
) -> None:
    random = Random(seed)
    durability = (*(Durability.COMMIT,) * 3, Durability.INTERVAL, Durability.NONE)[seed % 5]
    config = busy_config(seed, durability)
    witness = Witness(tmp_path / "store", seed, config)
    for _ in range(LIVES):
        child = start(live, str(witness.path), seed, witness.time, config)
        witness.hear(child, random.uniform(0.02, 0.06), once_open=random.random() < 0.8)
        child.kill()
        witness.hear(child)
        await witness.examine(tmp_path / "copy")
    # The kills were worth the time: there were events to lose, and the store was in the middle of
    # work.
    assert witness.acknowledged > 4 * LIVES
    assert sum(not report.clean for report in witness.reports) > LIVES / 3
    assert any(report.snapshot for report in witness.reports)
    assert any(report.segments > 1 for report in witness.reports)
