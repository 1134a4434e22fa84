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
MOST_LIVES = 50
"""On a busy machine or a slow disk, ten lives may be too short for a snapshot. Later ones are
longer.
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(STORES))
async def test_whatever_was_acknowledged_survives_being_killed(
    seed: int, tmp_path: Path, start: Start
) -> None:
    random = Random(seed)
    durability = (*(Durability.COMMIT,) * 3, Durability.INTERVAL, Durability.NONE)[seed % 5]
    config = busy_config(seed, durability)
    witness = Witness(tmp_path / "store", seed, config)
    for life in range(MOST_LIVES):
        child = start(live, str(witness.path), seed, witness.time, config)
        seconds = random.uniform(0.02, 0.06) * 2 ** (life // LIVES)
        witness.hear(child, seconds, once_open=random.random() < 0.8)
        child.kill()
        witness.hear(child)
        await witness.examine(tmp_path / "copy")
        if life + 1 >= LIVES and _worth_the_time(witness):
            return
    pytest.fail(f"the kills proved nothing: {witness.acknowledged} events, {witness.reports}")


def _worth_the_time(witness: Witness) -> bool:
    """Whether there were events to lose, and the store was in the middle of work."""
    return (
        witness.acknowledged > 4 * LIVES
        and sum(not report.clean for report in witness.reports) > LIVES / 3
        and any(report.snapshot for report in witness.reports)
        and any(report.segments > 1 for report in witness.reports)
    )
