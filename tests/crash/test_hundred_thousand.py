"""A hundred thousand crash states in every run of the suite, in pieces that workers can share."""

from __future__ import annotations

import pytest

from eventstore.testing.crash import explore

PIECES = 50
STATES = 2000
WORKLOADS = 10
"""Workloads that a piece may take; two or three hold as many states."""


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(PIECES))
def test_whatever_a_crash_leaves_is_recovered(piece: int) -> None:
    report = explore(STATES, 1000 + piece * WORKLOADS)
    assert report.states >= STATES
    assert report.workloads <= WORKLOADS
    assert PIECES * STATES >= 100_000
