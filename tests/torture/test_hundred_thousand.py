"""A hundred thousand crash states in every run of the suite, in pieces that workers can share.

`EVENTSTORE_CRASH_STATES` asks for another number, as `.ci/run` does for the sake of its time.
"""

from __future__ import annotations

import os

import pytest

from tests.torture.cli import explore
from tests.torture.workload_kinds import KINDS

PIECES = 50
STATES = int(os.environ.get("EVENTSTORE_CRASH_STATES", "100000")) // PIECES
NUMBERS = 7
"""Numbers of the workloads, each of every kind. A piece takes one or two, and kinds go round."""


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(PIECES))
def test_whatever_a_crash_leaves_is_recovered(piece: int) -> None:
    report = explore(STATES, 1000 + piece * NUMBERS)
    assert report.states >= STATES
    assert report.workloads <= NUMBERS * len(KINDS)
